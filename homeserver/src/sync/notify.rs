//! Who must be woken, and what changed for whom: kept in memory for the users who sync.
//!
//! A user's feed remembers in which rooms something happened at which position, from its floor
//! on; a room that somebody follows remembers its newest rows of the log. So an incremental sync
//! costs what changed, and one without news reads nothing from disk.
//!
//! Invariant: above its floor a feed names every room that changed for its user (and perhaps some
//! that did not), because commits are entered here one after another, under one lock, before
//! anybody is woken. What lies below the floor is asked of the database.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

mod room_feed;

use self::room_feed::RoomFeed;
pub use self::room_feed::{ROOM_ROWS_MAX, RoomLogRow};
use crate::store::{LogKind, LogRow, Published};

/// Changes that a feed remembers; what is older lies below its floor.
const CHANGES_MAX: usize = 256;
/// Changed keys that are remembered for everybody.
const KEYS_MAX: usize = 4096;
/// Changed keys whose followers are still to be woken; beyond that everybody is.
const KEYS_WAITING_MAX: usize = 1024;
/// Feeds that are kept; beyond that, those unused for [`FEED_IDLE`] go.
const FEEDS_MAX: usize = 20_000;
/// How long a feed is kept that nobody uses.
const FEED_IDLE: Duration = Duration::from_secs(15 * 60);

/// A user's place here: what an open sync waits on.
#[derive(Debug)]
pub struct Feed {
    id: u64,
    user_id: OwnedUserId,
    /// Wakes all open syncs of the user.
    wake: tokio::sync::Notify,
}

impl Feed {
    /// Completes at the next change. It must be made, and enabled, before looking for changes.
    pub fn woken(&self) -> tokio::sync::futures::Notified<'_> {
        self.wake.notified()
    }

    /// Wakes the user's open syncs.
    pub fn wake(&self) {
        self.wake.notify_waiters();
    }
}

/// What changed for a user in an interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Rooms in which something happened.
    pub rooms: HashSet<OwnedRoomId>,
    /// Whether something happened to the user: memberships, account data, private receipts.
    pub own: bool,
}

/// All feeds.
#[derive(Debug)]
pub struct Feeds {
    index: Mutex<Index>,
    /// Wakes the task that finds out who follows a user whose keys changed.
    keys_changed: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Index {
    /// The head after the newest commit that was entered.
    seen: i64,
    next_id: u64,
    ids: HashMap<OwnedUserId, u64>,
    users: HashMap<u64, UserFeed>,
    rooms: HashMap<OwnedRoomId, RoomFeed>,
    keys: VecDeque<(i64, OwnedUserId)>,
    keys_floor: i64,
    keys_waiting: Vec<OwnedUserId>,
}

#[derive(Debug)]
struct UserFeed {
    feed: Arc<Feed>,
    /// Above this, `changes` is complete; `None` until all rooms are followed.
    floor: Option<i64>,
    changes: VecDeque<(i64, Change)>,
    follows: HashSet<OwnedRoomId>,
    used_at: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Room(OwnedRoomId),
    Own,
}

impl UserFeed {
    fn note(&mut self, position: i64, change: Change) {
        // One entry for a run of changes of the same kind: a token inside the run still sees it.
        match self.changes.back_mut() {
            Some((last, known)) if *known == change => *last = position,
            _ => self.changes.push_back((position, change)),
        }
        if self.changes.len() > CHANGES_MAX
            && let Some((position, _)) = self.changes.pop_front()
            && let Some(floor) = &mut self.floor
        {
            *floor = position.max(*floor);
        }
    }
}

impl UserFeed {
    /// Whether something may have happened to the user above a position.
    fn has_own_above(&self, upto: i64) -> bool {
        let newer = self.changes.iter().rev();
        let mut newer = newer.take_while(|(position, _)| *position > upto);
        self.floor.is_none_or(|floor| floor > upto)
            || newer.any(|(_, change)| *change == Change::Own)
    }
}

impl Index {
    fn follow(&mut self, id: u64, room: &RoomId) {
        let Some(user) = self.users.get_mut(&id) else {
            return;
        };
        if !user.follows.insert(room.to_owned()) {
            return;
        }
        let seen = self.seen;
        let feed = self
            .rooms
            .entry(room.to_owned())
            .or_insert_with(|| RoomFeed {
                floor: seen,
                others_floor: seen,
                ..RoomFeed::default()
            });
        feed.followers.push(id);
    }

    fn unfollow(&mut self, id: u64, room: &RoomId) {
        if let Some(user) = self.users.get_mut(&id) {
            user.follows.remove(room);
        }
        if let Some(feed) = self.rooms.get_mut(room) {
            feed.followers.retain(|follower| *follower != id);
            if feed.followers.is_empty() {
                self.rooms.remove(room);
            }
        }
    }

    /// Drops the feeds that nobody has used for long.
    fn sweep(&mut self, now: Duration) {
        let is_idle = |user: &UserFeed| {
            Arc::strong_count(&user.feed) == 1 && now.saturating_sub(user.used_at) > FEED_IDLE
        };
        let idle = self.users.iter().filter(|(_, user)| is_idle(user));
        let idle: Vec<u64> = idle.map(|(id, _)| *id).collect();
        for id in idle {
            let Some(user) = self.users.get(&id) else {
                continue;
            };
            self.ids.remove(&user.feed.user_id);
            for room in user.follows.clone() {
                self.unfollow(id, &room);
            }
            self.users.remove(&id);
        }
    }

    /// Follows a room whose membership has just changed: whether the user still is in it is
    /// looked at by the sync that this leads to.
    fn enter_own(&mut self, row: &LogRow, user: &str) {
        let Some(id) = self.ids.get(user).copied() else {
            return;
        };
        if row.kind == LogKind::Membership
            && let Some(room) = row
                .reference
                .as_deref()
                .and_then(|room| <&RoomId>::try_from(room).ok())
        {
            self.follow(id, room);
        }
        if let Some(user) = self.users.get_mut(&id) {
            user.note(row.position, Change::Own);
        }
    }

    fn enter_room(&mut self, row: &LogRow, room: &str, woken: &mut HashSet<u64>) {
        let Some((room_id, feed)) = self.rooms.get_key_value(room) else {
            return;
        };
        let (room_id, followers) = (room_id.clone(), feed.followers.clone());
        if let Some(feed) = self.rooms.get_mut(room) {
            feed.note(RoomLogRow::from(row));
        }
        for id in followers {
            if let Some(user) = self.users.get_mut(&id) {
                user.note(row.position, Change::Room(room_id.clone()));
                woken.insert(id);
            }
        }
    }

    fn enter_keys(&mut self, row: &LogRow, user: &str) {
        let Ok(user) = OwnedUserId::try_from(user) else {
            return;
        };
        self.keys.push_back((row.position, user.clone()));
        if self.keys.len() > KEYS_MAX
            && let Some((position, _)) = self.keys.pop_front()
        {
            self.keys_floor = position;
        }
        if self.keys_waiting.len() < KEYS_WAITING_MAX {
            self.keys_waiting.push(user);
        } else {
            self.users.values().for_each(|user| user.feed.wake());
        }
    }

    fn enter(&mut self, published: &Published) {
        let mut woken = HashSet::new();
        // Memberships first: whoever joins in this commit follows the room from its first row on.
        for row in &published.rows {
            if let Some(user) = row.scope.strip_prefix('u') {
                self.enter_own(row, user);
                woken.extend(self.ids.get(user));
            }
        }
        for row in &published.rows {
            match row.scope.split_at_checked(1) {
                Some(("r", room)) => self.enter_room(row, room, &mut woken),
                Some(("k", user)) => self.enter_keys(row, user),
                Some(("d", device)) => {
                    let user = device.split_once(' ').map_or(device, |(user, _)| user);
                    woken.extend(self.ids.get(user));
                }
                _ => {}
            }
        }
        self.seen = published.head;
        for id in woken {
            if let Some(user) = self.users.get(&id) {
                user.feed.wake();
            }
        }
    }
}

impl Feeds {
    /// No feeds yet; the log ends at `head`.
    pub fn new(head: i64) -> Self {
        Self {
            index: Mutex::new(Index {
                seen: head,
                keys_floor: head,
                ..Index::default()
            }),
            keys_changed: tokio::sync::Notify::new(),
        }
    }

    /// Enters a commit and wakes those whom it concerns. Called in the order of commits.
    pub fn enter(&self, published: &Published) {
        let mut index = self.index();
        index.enter(published);
        if !index.keys_waiting.is_empty() {
            self.keys_changed.notify_one();
        }
    }

    /// The head after the newest commit that was entered: how far a sync may look.
    pub fn seen(&self) -> i64 {
        self.index().seen
    }

    /// The feed of a user, and whether it has been completed.
    pub fn open(&self, user: &UserId, now: Duration) -> (Arc<Feed>, bool) {
        let mut index = self.index();
        if let Some(id) = index.ids.get(user).copied()
            && let Some(user) = index.users.get_mut(&id)
        {
            user.used_at = now;
            return (Arc::clone(&user.feed), user.floor.is_some());
        }
        if index.users.len() >= FEEDS_MAX {
            index.sweep(now);
        }
        index.next_id += 1;
        let feed = Arc::new(Feed {
            id: index.next_id,
            user_id: user.to_owned(),
            wake: tokio::sync::Notify::new(),
        });
        let entry = UserFeed {
            feed: Arc::clone(&feed),
            floor: None,
            changes: VecDeque::new(),
            follows: HashSet::new(),
            used_at: now,
        };
        index.ids.insert(user.to_owned(), feed.id);
        index.users.insert(feed.id, entry);
        (feed, false)
    }

    /// Completes a feed: it follows these rooms, which were read after it had been opened.
    pub fn complete<'a>(&self, feed: &Feed, rooms: impl IntoIterator<Item = &'a RoomId>) {
        let mut index = self.index();
        for room in rooms {
            index.follow(feed.id, room);
        }
        let seen = index.seen;
        if let Some(user) = index.users.get_mut(&feed.id) {
            user.floor.get_or_insert(seen);
        }
    }

    /// Stops following a room that the user was not in at `upto`, unless something happened to the
    /// user since: that may have been a join, which follows the room again.
    pub fn unfollow(&self, feed: &Feed, room: &RoomId, upto: i64) {
        let mut index = self.index();
        if index
            .users
            .get(&feed.id)
            .is_none_or(|user| !user.has_own_above(upto))
        {
            index.unfollow(feed.id, room);
        }
    }

    /// What changed for a user with `after < position <= upto`; `None` below the feed's floor.
    pub fn changed(&self, feed: &Feed, after: i64, upto: i64) -> Option<Changed> {
        let index = self.index();
        let user = index.users.get(&feed.id)?;
        if user.floor? > after {
            return None;
        }
        let mut changed = Changed::default();
        for (position, change) in user.changes.iter().rev() {
            // An entry may stand for a run that begins before `upto`: it is never left out.
            if *position <= after {
                break;
            }
            match change {
                Change::Room(room) => {
                    changed.rooms.insert(room.clone());
                }
                Change::Own => changed.own = true,
            }
        }
        debug_assert!(upto >= after);
        Some(changed)
    }

    /// The rows of a followed room with `after < position <= upto`, oldest first; `None` if they
    /// are not all remembered.
    pub fn room_rows(&self, room: &RoomId, after: i64, upto: i64) -> Option<Vec<RoomLogRow>> {
        let index = self.index();
        let feed = index.rooms.get(room)?;
        if feed.floor > after {
            return None;
        }
        let from = feed.rows.partition_point(|row| row.position <= after);
        let to = feed.rows.partition_point(|row| row.position <= upto);
        Some(feed.rows.range(from..to.max(from)).cloned().collect())
    }

    /// Whether the rows of a followed room above `after` tell its receipts, and what expires, too.
    pub fn hears_all(&self, room: &RoomId, after: i64) -> bool {
        let index = self.index();
        let feed = index.rooms.get(room);
        feed.is_some_and(|feed| feed.others_floor <= after)
    }

    /// The newest rows of a followed room up to `upto`, oldest first, if at least `events` of them
    /// are events or the room has no more; and whether they are all that there are.
    pub fn newest_rows(
        &self,
        room: &RoomId,
        upto: i64,
        events: usize,
    ) -> Option<(Vec<RoomLogRow>, bool)> {
        let index = self.index();
        let feed = index.rooms.get(room)?;
        let to = feed.rows.partition_point(|row| row.position <= upto);
        let mut found = 0;
        let mut from = to;
        while from > 0 && found < events {
            from -= 1;
            found += usize::from(feed.rows[from].kind.is_event());
        }
        let complete = from == 0 && feed.floor == 0;
        let enough = found == events || complete;
        enough.then(|| (feed.rows.range(from..to).cloned().collect(), complete))
    }

    /// Remembers rows of a followed room that were read from the database: all those of events
    /// and of state, with `floor < position <= upto`, oldest first.
    pub fn learn_rows(&self, room: &RoomId, rows: &[RoomLogRow], floor: i64, upto: i64) {
        let mut index = self.index();
        let Some(feed) = index.rooms.get_mut(room) else {
            return;
        };
        if feed.floor > upto || floor >= feed.floor {
            return;
        }
        let older = rows.partition_point(|row| row.position <= feed.floor);
        let room_left = ROOM_ROWS_MAX.saturating_sub(feed.rows.len());
        let taken = older.min(room_left);
        for row in rows[older - taken..older].iter().rev() {
            feed.rows.push_front(row.clone());
        }
        feed.floor = match (older > taken).then(|| &rows[older - taken - 1]) {
            Some(left_out) => left_out.position,
            None => floor,
        };
    }

    /// The users whose keys changed after a position; `None` if that is longer ago than is
    /// remembered.
    pub fn keys_changed_since(&self, after: i64, upto: i64) -> Option<HashSet<OwnedUserId>> {
        let index = self.index();
        if index.keys_floor > after {
            return None;
        }
        let newer = index
            .keys
            .iter()
            .rev()
            .take_while(|(position, _)| *position > after);
        let changed = newer.filter(|(position, _)| *position <= upto);
        Some(changed.map(|(_, user)| user.clone()).collect())
    }

    /// Waits for users whose keys changed, and takes them together with the rooms that are
    /// followed: those who follow a room in which such a user is are to be woken.
    pub async fn next_keys(&self) -> (Vec<OwnedUserId>, Vec<OwnedRoomId>) {
        loop {
            self.keys_changed.notified().await;
            let mut index = self.index();
            let users = std::mem::take(&mut index.keys_waiting);
            if !users.is_empty() {
                return (users, index.rooms.keys().cloned().collect());
            }
        }
    }

    /// Wakes a user's open syncs.
    pub fn wake_user(&self, user: &UserId) {
        let index = self.index();
        if let Some(user) = index.ids.get(user).and_then(|id| index.users.get(id)) {
            user.feed.wake();
        }
    }

    /// Wakes the open syncs of those who follow a room.
    pub fn wake_room(&self, room: &RoomId) {
        let index = self.index();
        let followers = index.rooms.get(room).map(|feed| feed.followers.as_slice());
        for id in followers.unwrap_or_default() {
            if let Some(user) = index.users.get(id) {
                user.feed.wake();
            }
        }
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
