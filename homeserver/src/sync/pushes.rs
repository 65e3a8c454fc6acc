//! Telling push gateways of what notifies users while they are away.
//!
//! Invariant: a pusher is told of every event that notifies at least once, in order, from its own place in the log, which is kept:
//! after a crash it is told again at most of what was told since. What was read meanwhile, or has expired, is passed over. A gateway
//! that fails is left alone for longer and longer, and holds up nobody else.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#push-notifications>

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Notify, task::JoinSet};

use super::{Sync, notifying::Notifying};
use crate::{
    drain::Drain,
    outbound::{PushGateway, PushNotice},
    store::{
        DeletePusher, LogKind, Membership, MovePusher, Published, PusherRow, Scope, StoreError,
    },
};

/// Users whose pushers are told at once.
const AT_ONCE_MAX: usize = 16;
/// Rows of the log that are looked at at once.
const ROWS_PER_READ: u64 = 500;
/// Rooms whose logs one query asks for.
const ROOMS_PER_QUERY_MAX: usize = 500;
/// Rooms of a user whose unread messages are counted.
const ROOMS_COUNTED_MAX: usize = 500;
/// How long a gateway that failed is left alone at first.
const RETRY_MIN: Duration = Duration::from_secs(10);
/// How long it is left alone at most.
const RETRY_MAX: Duration = Duration::from_secs(60 * 60);
/// After so many failures in a row, what waited is given up: it is a day old.
const FAILURES_MAX: u32 = 30;

/// What has changed since the sender looked last.
#[derive(Debug, Default)]
struct News {
    changed: Mutex<(HashSet<OwnedRoomId>, HashSet<OwnedUserId>)>,
    bell: Notify,
}

impl News {
    fn enter(&self, published: &Published) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        for row in &published.rows {
            match (row.kind, row.scope.split_at_checked(1)) {
                (LogKind::Event | LogKind::OwedEvent, Some((_, room))) => {
                    changed.0.extend(OwnedRoomId::try_from(room));
                }
                (LogKind::Membership, Some((_, user))) => {
                    changed.1.extend(OwnedUserId::try_from(user));
                }
                _ => {}
            }
        }
        drop(changed);
        self.bell.notify_one();
    }

    fn take(&self) -> (HashSet<OwnedRoomId>, HashSet<OwnedUserId>) {
        std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A user whose pushers have something to be told.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    failures: u32,
    /// The clock's monotonic time from which it may be tried.
    from: Duration,
}

/// How telling went.
enum Outcome {
    /// All that there was has been told.
    Told,
    /// A gateway failed.
    Failed,
}

/// The sender of one process.
#[derive(Debug)]
pub struct Pushes {
    sync: Arc<Sync>,
    gateway: PushGateway,
    drain: Drain,
    /// Who has a pusher.
    users: BTreeSet<OwnedUserId>,
    /// Which state of the pushers that is.
    users_as_of: Option<u64>,
    due: BTreeMap<OwnedUserId, Due>,
    running: BTreeMap<OwnedUserId, Due>,
}

impl Pushes {
    /// A sender of what `sync` knows.
    pub fn new(sync: Arc<Sync>, gateway: PushGateway, drain: Drain) -> Self {
        Self {
            sync,
            gateway,
            drain,
            users: BTreeSet::new(),
            users_as_of: None,
            due: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// Sends until the process ends.
    pub async fn run(mut self) {
        let news = Arc::new(News::default());
        let entered = Arc::clone(&news);
        let context = self.sync.context.clone();
        context
            .store
            .on_commit(move |published| entered.enter(published));
        let mut tasks: JoinSet<(OwnedUserId, Outcome)> = JoinSet::new();
        let drain = self.drain.clone();
        while !drain.has_begun() {
            if let Err(error) = self.look(&news).await {
                tracing::error!(%error, "who is to be notified cannot be read; it is tried again");
            }
            let next = self.start(&mut tasks);
            let deadline = next.unwrap_or(context.clock.monotonic() + RETRY_MAX);
            tokio::select! {
                biased;
                () = drain.begun() => {}
                () = news.bell.notified() => {}
                Some(done) = tasks.join_next() => self.finish(done.ok()),
                () = context.clock.sleep_until(deadline) => {}
            }
        }
        tasks.shutdown().await;
    }

    /// Finds out for whom there may be something.
    async fn look(&mut self, news: &News) -> Result<(), StoreError> {
        let store = &self.sync.context.store;
        let as_of = store.pushers_changed();
        if self.users_as_of != Some(as_of) {
            self.users = store.users_with_pushers().await?;
            self.users_as_of = Some(as_of);
            for user in &self.users {
                self.due.entry(user.clone()).or_default();
            }
        }
        let (rooms, users) = news.take();
        if self.users.is_empty() {
            return Ok(());
        }
        for user in users.into_iter().filter(|user| self.users.contains(user)) {
            self.due.entry(user).or_default();
        }
        for room in rooms {
            let Some(snapshot) = self.sync.context.rooms.snapshot(&room).await? else {
                continue;
            };
            for user in snapshot.members.local_joined.iter() {
                if self.users.contains(user) {
                    self.due.entry(user.clone()).or_default();
                }
            }
        }
        Ok(())
    }

    /// Starts what is due; answers when the next that waits is.
    fn start(&mut self, tasks: &mut JoinSet<(OwnedUserId, Outcome)>) -> Option<Duration> {
        let now = self.sync.context.clock.monotonic();
        let ready: Vec<OwnedUserId> = self
            .due
            .iter()
            .filter(|(user, due)| due.from <= now && !self.running.contains_key(*user))
            .map(|(user, _)| user.clone())
            .take(AT_ONCE_MAX.saturating_sub(self.running.len()))
            .collect();
        for user in ready {
            let Some(due) = self.due.remove(&user) else {
                continue;
            };
            self.running.insert(user.clone(), due);
            let (sync, gateway) = (Arc::clone(&self.sync), self.gateway.clone());
            let gives_up = due.failures >= FAILURES_MAX;
            tasks.spawn(async move {
                let outcome = match tell(&sync, &gateway, &user, gives_up).await {
                    Ok(outcome) => outcome,
                    Err(error) => {
                        tracing::error!(%error, "notifications cannot be read");
                        Outcome::Failed
                    }
                };
                (user, outcome)
            });
        }
        self.due
            .values()
            .map(|due| due.from)
            .filter(|from| *from > now)
            .min()
    }

    fn finish(&mut self, done: Option<(OwnedUserId, Outcome)>) {
        let Some((user, outcome)) = done else {
            // A task that panicked is logged where it did; its user is due with the next event.
            self.running.clear();
            return;
        };
        let before = self.running.remove(&user).unwrap_or_default();
        if matches!(outcome, Outcome::Failed) {
            let failures = before.failures.saturating_add(1).min(FAILURES_MAX);
            let wait = RETRY_MIN
                .saturating_mul(1 << failures.min(10))
                .min(RETRY_MAX);
            let from = self.sync.context.clock.monotonic() + wait;
            self.due.insert(user, Due { failures, from });
        }
    }
}

/// Tells a user's pushers what they have not been told.
async fn tell(
    sync: &Sync,
    gateway: &PushGateway,
    user: &UserId,
    gives_up: bool,
) -> Result<Outcome, StoreError> {
    let mut outcome = Outcome::Told;
    let head = sync.feeds.seen();
    for pusher in sync.context.store.pusher_rows(user).await? {
        let mut at = pusher.position;
        while at < head {
            if gives_up {
                at = head;
                move_to(sync, user, &pusher, at).await?;
                break;
            }
            let (found, upto) = sync.notifying_since(user, at, head).await?;
            match deliver(sync, gateway, user, &pusher, found).await? {
                Delivered::All => at = upto,
                Delivered::Rejected => break,
                Delivered::Until(position) => {
                    move_to(sync, user, &pusher, position.max(at)).await?;
                    outcome = Outcome::Failed;
                    break;
                }
            }
            move_to(sync, user, &pusher, at).await?;
        }
    }
    Ok(outcome)
}

async fn move_to(
    sync: &Sync,
    user: &UserId,
    pusher: &PusherRow,
    position: i64,
) -> Result<(), StoreError> {
    let change = MovePusher {
        user_id: user.to_owned(),
        app_id: pusher.app_id.clone(),
        pushkey: pusher.pushkey.clone(),
        position,
    };
    sync.context.store.commit(change).await?;
    Ok(())
}

/// How far a gateway was told.
enum Delivered {
    /// Everything.
    All,
    /// It rejects the key; the pusher is gone.
    Rejected,
    /// Only up to this position.
    Until(i64),
}

async fn deliver(
    sync: &Sync,
    gateway: &PushGateway,
    user: &UserId,
    pusher: &PusherRow,
    found: Vec<Notifying>,
) -> Result<Delivered, StoreError> {
    #[derive(Deserialize)]
    struct Pusher {
        data: serde_json::Map<String, Value>,
    }
    let mut told = 0;
    let Ok(Pusher { mut data }) = serde_json::from_str::<Pusher>(&pusher.content) else {
        return Ok(Delivered::All);
    };
    let Some(Value::String(url)) = data.remove("url") else {
        return Ok(Delivered::All);
    };
    let found: Vec<_> = found.into_iter().filter(|found| !found.is_read).collect();
    let unread = match found.is_empty() {
        true => 0,
        false => sync.unread_in_all(user).await?,
    };
    for notifying in found {
        let event = &notifying.event;
        let notice = PushNotice {
            event_id: event.id().to_string(),
            room_id: event.pdu.room_id.to_string(),
            is_urgent: notifying.is_highlight() || !notifying.tweaks()["sound"].is_null(),
            unread,
            app_id: pusher.app_id.clone(),
            pushkey: pusher.pushkey.clone(),
            data: Value::Object(data.clone()),
            tweaks: notifying.tweaks(),
        };
        match gateway.notify(&url, &notice).await {
            Ok(rejected) if rejected.contains(&pusher.pushkey) => {
                let change = DeletePusher {
                    user_id: user.to_owned(),
                    app_id: pusher.app_id.clone(),
                    pushkey: pusher.pushkey.clone(),
                };
                sync.context.store.commit(change).await?;
                return Ok(Delivered::Rejected);
            }
            Ok(_) => told = event.position.unwrap_or(told),
            Err(_) => return Ok(Delivered::Until(told)),
        }
    }
    Ok(Delivered::All)
}

impl Sync {
    /// What notifies a user above a position, oldest first, and up to which position that is all.
    async fn notifying_since(
        &self,
        user: &UserId,
        after: i64,
        upto: i64,
    ) -> Result<(Vec<Notifying>, i64), StoreError> {
        let store = &self.context.store;
        let memberships = self.context.rooms.memberships(user).await?;
        let rooms: Vec<&RoomId> = memberships
            .values()
            .filter(|row| row.membership == Membership::Join)
            .map(|row| &*row.room_id)
            .collect();
        let mut end = upto;
        let mut ids: Vec<(i64, OwnedEventId)> = Vec::new();
        for some in rooms.chunks(ROOMS_PER_QUERY_MAX) {
            let scopes: Vec<Scope<'_>> = some.iter().map(|room| Scope::Room(room)).collect();
            let rows = store
                .log_of_many(&scopes, after, upto, ROWS_PER_READ)
                .await?;
            if rows.len() as u64 == ROWS_PER_READ {
                end = end.min(rows.last().map_or(upto, |row| row.position));
            }
            for row in rows.iter().filter(|row| row.kind.is_event()) {
                let id = row.reference.as_deref().map(OwnedEventId::try_from);
                ids.extend(id.and_then(Result::ok).map(|id| (row.position, id)));
            }
        }
        for row in memberships.values() {
            let is_new = row.position > after && row.position <= upto;
            if row.membership == Membership::Invite && is_new {
                ids.push((row.position, row.event_id.clone()));
            }
        }
        ids.retain(|(position, _)| *position <= end);
        ids.sort();
        let ids: Vec<OwnedEventId> = ids.into_iter().map(|(_, id)| id).collect();
        let events = store.events(&ids).await?;
        Ok((self.notifying(user, &events).await?, end))
    }

    /// How many messages a user has not read, in all rooms together.
    async fn unread_in_all(&self, user: &UserId) -> Result<u64, StoreError> {
        let memberships = self.context.rooms.memberships(user).await?;
        let joined = memberships
            .values()
            .filter(|row| row.membership == Membership::Join);
        let mut unread = 0;
        for row in joined.take(ROOMS_COUNTED_MAX) {
            if let Some(snapshot) = self.context.rooms.snapshot(&row.room_id).await? {
                unread += self.unread(user, &snapshot).await?.all.notifications;
            }
        }
        Ok(unread)
    }
}
