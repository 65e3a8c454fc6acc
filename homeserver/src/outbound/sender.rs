//! What is owed to other servers, sent: one task a destination, alive only while something is owed.
//!
//! Invariant: the log is the queue. A task keeps a cursor over it ([`passeur_protocol::destination`]) and the transaction in
//! flight, stored before it is sent and sent again under the same identifier until the peer takes it. Start, crash and
//! catching up are the same code. Only typing and presence live in memory, and are dropped if the peer is not there.
//!
//! Commits wake the tasks of the servers that they concern; a failing server costs one sleeping task. No lock and no
//! transaction is held over a request.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#transactions>

use std::{
    collections::BTreeMap,
    fmt::Debug,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ruma::{
    OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, ServerName, UserId,
    api::federation::transactions::edu::PresenceUpdate,
};
use tokio::sync::Notify;

use super::Remote;
use crate::{
    clock::{Clock, Rng},
    drain::Drain,
    store::{Event, Store},
};

mod device_lists;
mod dispatch;
mod edus;
mod load;
mod places;
mod task;
mod transaction;

pub use self::device_lists::DeviceLists;
pub use self::edus::{EduRange, EduSource, OwedEdu, OwedEdus, Receipts};

/// Users whose presence waits for one server.
const PRESENCES_WAITING_MAX: usize = 200;

/// Typing notifications that wait for one server.
const TYPING_WAITING_MAX: usize = 100;

/// Makes the federation format of an event at a moment (ms since the epoch): the one projection of `rooms`.
pub type Projection = fn(&Event, i64) -> Result<String, ProjectionError>;

/// An event that has no federation format: its stored form is damaged. The transaction goes on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event cannot be shown")]
pub struct ProjectionError;

/// What the sender is built on.
#[derive(Clone)]
pub struct SenderContext {
    /// The database.
    pub store: Arc<Store>,
    /// Requests to other servers.
    pub remote: Remote,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The federation format of events.
    pub projection: Projection,
    /// What is owed beside events.
    pub edus: Vec<Arc<dyn EduSource>>,
    /// The end of the process: whatever is under way is dropped, and sent again after the next start.
    pub drain: Drain,
}

/// The sender. Cheap to clone.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

struct Inner {
    context: SenderContext,
    tasks: Mutex<BTreeMap<OwnedServerName, Arc<Handle>>>,
    /// What was committed and not yet looked at.
    dirty: Mutex<dispatch::Dirty>,
    /// How many commits have been acted upon.
    delivered: AtomicU64,
    /// Rings when something becomes dirty.
    committed: Notify,
    places: places::Places,
    stays: dispatch::StayCache,
}

impl Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sender")
    }
}

/// How others reach the task of a destination.
#[derive(Debug, Default)]
struct Handle {
    news: Mutex<News>,
    bell: Notify,
    /// Since when the server has not taken what it is owed, in milliseconds; 0 if it does.
    failing_since_ms: AtomicU64,
}

/// What a task has not looked at yet.
#[derive(Debug, Default)]
struct News {
    /// Something may be owed at this position.
    position: i64,
    /// The peer showed life.
    is_alive: bool,
    /// Who began or stopped typing.
    typing: BTreeMap<(OwnedRoomId, OwnedUserId), bool>,
    /// How users are, the newest of each.
    presence: BTreeMap<OwnedUserId, PresenceUpdate>,
    /// Whether anything is new at all.
    is_any: bool,
}

impl News {
    fn note_typing(&mut self, who: (OwnedRoomId, OwnedUserId), is_typing: bool) {
        if self.typing.len() < TYPING_WAITING_MAX || self.typing.contains_key(&who) {
            self.typing.insert(who, is_typing);
        }
    }
}

impl Handle {
    fn tell(&self, change: impl FnOnce(&mut News)) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut news);
        news.is_any = true;
        drop(news);
        self.bell.notify_one();
    }

    fn take(&self) -> News {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut news)
    }

    /// Whether the peer has shown life since the last [`Handle::take`].
    fn is_alive(&self) -> bool {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.is_alive
    }
}

impl Sender {
    /// A sender that follows the commits of its store from now on, and resumes what was owed before.
    ///
    /// It must be made inside a tokio runtime; its tasks end when the process does.
    pub fn start(context: SenderContext) -> Self {
        let store = Arc::clone(&context.store);
        let sender = Self(Arc::new(Inner {
            context,
            tasks: Mutex::default(),
            dirty: Mutex::default(),
            delivered: AtomicU64::new(0),
            committed: Notify::new(),
            places: places::Places::default(),
            stays: dispatch::stay_cache(),
        }));
        let weak = Arc::downgrade(&sender.0);
        store.on_commit(move |published| {
            if let Some(inner) = weak.upgrade() {
                inner.note(published);
            }
        });
        sender.spawn(sender.clone().dispatch());
        sender
    }

    /// Tells that a server made an authentic request: what is owed to it is tried at once.
    pub fn peer_is_alive(&self, server: &ServerName) {
        let tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = tasks.get(server) {
            handle.tell(|news| news.is_alive = true);
        }
    }

    /// Tells the servers in a room that one of our users began or stopped typing. Servers that are not there miss it.
    pub async fn typing(&self, room: &RoomId, user: &UserId, is_typing: bool) {
        let Ok(stays) = self.0.stays_seen(room).await else {
            return;
        };
        for stay in stays.iter().filter(|stay| stay.left_at.is_none()) {
            let key = (room.to_owned(), user.to_owned());
            self.wake(&stay.destination, |news| news.note_typing(key, is_typing));
        }
    }

    /// Tells the servers that share a room with one of our users how they are. Servers that are not there miss it.
    pub async fn presence(&self, update: PresenceUpdate) {
        let store = &self.0.context.store;
        let Ok(servers) = store.servers_sharing_with(&update.user_id).await else {
            return;
        };
        for server in servers {
            self.wake(&server, |news| {
                let user = update.user_id.clone();
                if news.presence.len() < PRESENCES_WAITING_MAX {
                    news.presence.insert(user, update.clone());
                }
            });
        }
    }

    /// Tells a destination's task something, and starts the task if it does not run.
    fn wake(&self, server: &ServerName, change: impl FnOnce(&mut News)) {
        if server == self.0.context.remote.server_name() {
            return;
        }
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = tasks.get(server) {
            handle.tell(change);
            return;
        }
        let handle = Arc::new(Handle::default());
        handle.tell(change);
        tasks.insert(server.to_owned(), Arc::clone(&handle));
        drop(tasks);
        self.spawn(task::run(self.clone(), server.to_owned(), handle));
    }

    /// Runs a task until it ends or the process does.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let drain = self.0.context.drain.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = drain.begun() => {}
                () = task => {}
            }
        });
    }

    /// Ends a task, unless it was told something meanwhile.
    fn end(&self, server: &ServerName, handle: &Handle) -> bool {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let news = handle.news.lock().unwrap_or_else(PoisonError::into_inner);
        if news.is_any {
            return false;
        }
        tasks.remove(server);
        true
    }

    /// Whether every commit so far has been acted upon.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        let dirty = self.0.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        dirty.noted() == self.0.delivered.load(Ordering::Acquire)
    }

    /// For how long the server that has waited longest has not taken what it is owed, in milliseconds.
    #[must_use]
    pub fn lag_ms(&self) -> u64 {
        let tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let since = tasks
            .values()
            .map(|handle| handle.failing_since_ms.load(Ordering::Relaxed));
        let oldest = since.filter(|since_ms| *since_ms > 0).min();
        let now_ms = u64::try_from(self.0.context.clock.now_ms()).unwrap_or(0);
        oldest.map_or(0, |since_ms| now_ms.saturating_sub(since_ms))
    }

    /// How many destinations have a task.
    #[must_use]
    pub fn active(&self) -> usize {
        let tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.len()
    }
}

#[cfg(test)]
mod tests;
