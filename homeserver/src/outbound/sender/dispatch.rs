//! From commits to the destinations that they concern.
//!
//! Invariant: the hook of a commit only notes what changed; look-ups happen on a task of their own. What is remembered of
//! the rooms' servers is forgotten by the very commits that change it, before they are acted upon.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use quick_cache::sync::Cache;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomId};

use super::{Inner, Sender};
use crate::store::{LogKind, Published, Stay, StoreError};

/// Rooms whose servers are remembered.
const ROOMS_MAX: usize = 10_000;

/// The pause after the database failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The stays in rooms.
pub(super) type StayCache = Cache<OwnedRoomId, Arc<Vec<Stay>>>;

/// A new, empty cache.
pub(super) fn stay_cache() -> StayCache {
    Cache::new(ROOMS_MAX)
}

/// What was committed, reduced to what matters for other servers.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Rooms with something new.
    rooms: BTreeSet<OwnedRoomId>,
    /// Our users whose devices changed.
    users: BTreeSet<OwnedUserId>,
    /// Servers to whom something else is owed, and where.
    servers: BTreeMap<OwnedServerName, i64>,
    /// Rooms that servers have joined or left.
    moved: BTreeSet<OwnedRoomId>,
    /// The head of the log.
    head: i64,
    /// How many commits were noted so far.
    noted: u64,
}

impl Dirty {
    /// How many commits were noted so far; the first is the start itself.
    pub(super) fn noted(&self) -> u64 {
        self.noted + 1
    }

    fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.users.is_empty() && self.servers.is_empty()
    }
}

impl Inner {
    /// Notes a commit. Runs on the writer's task.
    pub(super) fn note(&self, published: &Published) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        for row in &published.rows {
            // The first character tells the kind of scope; see `Scope`.
            let name = row.scope.get(1..).unwrap_or_default();
            match row.kind {
                LogKind::OwedEvent | LogKind::Receipt if row.scope.starts_with('r') => {
                    dirty.rooms.extend(OwnedRoomId::try_from(name).ok());
                }
                LogKind::DeviceList => {
                    let user = OwnedUserId::try_from(name).ok();
                    let own = self.context.remote.server_name();
                    dirty
                        .users
                        .extend(user.filter(|user| user.server_name() == own));
                }
                LogKind::ForDestination => {
                    if let Ok(server) = OwnedServerName::try_from(name) {
                        dirty.servers.insert(server, row.position);
                    }
                    let room = row.reference.as_deref();
                    dirty
                        .moved
                        .extend(room.and_then(|room| OwnedRoomId::try_from(room).ok()));
                }
                _ => {}
            }
        }
        dirty.head = published.head;
        let is_empty = dirty.is_empty();
        dirty.noted += u64::from(!is_empty);
        drop(dirty);
        if !is_empty {
            self.committed.notify_one();
        }
    }

    /// The stays in a room, remembered.
    ///
    /// Only the task that follows the commits may ask: what it reads before a commit it forgets when
    /// it comes to that commit, while another's would be put back after it was forgotten.
    pub(super) async fn stays_in(&self, room: &RoomId) -> Result<Arc<Vec<Stay>>, StoreError> {
        if let Some(stays) = self.stays.get(room) {
            return Ok(stays);
        }
        let stays = Arc::new(self.context.store.stays_in(room).await?);
        // A commit that changed them while they were read has not been dispatched yet, and will be.
        self.stays.insert(room.to_owned(), Arc::clone(&stays));
        Ok(stays)
    }

    /// The stays in a room, for those who do not follow the commits: not remembered.
    pub(super) async fn stays_seen(&self, room: &RoomId) -> Result<Arc<Vec<Stay>>, StoreError> {
        match self.stays.get(room) {
            Some(stays) => Ok(stays),
            None => Ok(Arc::new(self.context.store.stays_in(room).await?)),
        }
    }
}

impl Sender {
    /// Resumes what was owed at start, then follows the commits for as long as the store lives.
    pub(super) async fn dispatch(self) {
        while let Err(error) = self.resume().await {
            if matches!(error, StoreError::Closed) {
                return;
            }
            tracing::error!(%error, "the destinations cannot be read");
            self.0.context.clock.sleep(PAUSE_AFTER_FAILURE).await;
        }
        self.0.delivered.store(1, Ordering::Release);
        loop {
            self.0.committed.notified().await;
            let dirty = {
                let mut dirty = self.0.dirty.lock().unwrap_or_else(PoisonError::into_inner);
                let noted = dirty.noted;
                std::mem::replace(
                    &mut *dirty,
                    Dirty {
                        noted,
                        ..Dirty::default()
                    },
                )
            };
            if let Err(error) = self.deliver(&dirty).await {
                if matches!(error, StoreError::Closed) {
                    return;
                }
                tracing::error!(%error, "the servers of a room cannot be read");
                self.put_back(dirty);
                self.0.context.clock.sleep(PAUSE_AFTER_FAILURE).await;
            } else {
                self.0.delivered.store(dirty.noted(), Ordering::Release);
            }
        }
    }

    /// Wakes every destination once: those to whom nothing is owed fall asleep at once.
    async fn resume(&self) -> Result<(), StoreError> {
        let store = &self.0.context.store;
        let head = store.heads().head();
        for server in store.destinations().await? {
            self.wake(&server, |news| news.position = news.position.max(head));
        }
        Ok(())
    }

    async fn deliver(&self, dirty: &Dirty) -> Result<(), StoreError> {
        for room in &dirty.moved {
            self.0.stays.remove(room);
        }
        let mut woken: BTreeMap<OwnedServerName, i64> = dirty.servers.clone();
        for room in &dirty.rooms {
            // Who left with one of these commits is among `servers`, and still owed the event that says so.
            let stays = self.0.stays_in(room).await?;
            let joined = stays.iter().filter(|stay| stay.left_at.is_none());
            woken.extend(joined.map(|stay| (stay.destination.clone(), dirty.head)));
        }
        for user in &dirty.users {
            for server in self.0.context.store.servers_sharing_with(user).await? {
                woken.insert(server, dirty.head);
            }
        }
        for (server, position) in woken {
            self.wake(&server, |news| news.position = news.position.max(position));
        }
        Ok(())
    }

    /// Keeps what could not be delivered for the next try.
    fn put_back(&self, earlier: Dirty) {
        let mut dirty = self.0.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        dirty.rooms.extend(earlier.rooms);
        dirty.users.extend(earlier.users);
        dirty.moved.extend(earlier.moved);
        for (server, position) in earlier.servers {
            dirty.servers.entry(server).or_insert(position);
        }
        dirty.head = dirty.head.max(earlier.head);
        self.0.committed.notify_one();
    }
}
