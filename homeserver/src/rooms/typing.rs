//! Who is typing: in memory only, each with a deadline.
//!
//! Invariant: nobody types longer than [`TYPING_MS_MAX`] without saying so again, and a revision
//! names one state of one room: whoever has been told a revision has been told all below it.
//! Revisions begin at the wall clock, so that a token of an earlier process lies below them. They
//! are even; an odd one in a token says that somebody typed where its client sees it, so that the
//! end of it is told even by a process that knows nothing of the beginning.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#typing-notifications>

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::clock::Clock;

/// The longest that typing lasts without being said again, in milliseconds.
pub const TYPING_MS_MAX: u64 = 120_000;
/// Users that type in one room; more are not told.
pub const TYPING_USERS_MAX: usize = 100;
/// Rooms that are remembered after all typing has ended there.
const QUIET_ROOMS_MAX: usize = 10_000;
/// How long typing that goes on is not told again: other servers forget it after a minute or less.
const RETELL_AFTER: Duration = Duration::from_secs(25);

/// How far one revision lies above the one before.
const STEP: i64 = 2;

/// One change of who types, as the hooks get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypingChange<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// Whose typing changed, or goes on.
    pub user_id: &'a UserId,
    /// Whether that user types now.
    pub typing: bool,
    /// Whether nothing changed: the user types on, and those who are not told of each key are told again.
    pub goes_on: bool,
}

type Hook = Box<dyn Fn(&TypingChange<'_>) + Send + Sync>;

/// Who types where.
pub struct Typing {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    hooks: RwLock<Vec<Hook>>,
}

#[derive(Debug)]
struct State {
    rooms: BTreeMap<OwnedRoomId, Room>,
    /// The revision of the beginning, when nobody typed.
    first: i64,
    /// The newest revision.
    revision: i64,
}

#[derive(Debug, Default)]
struct Room {
    /// Who types.
    users: BTreeMap<OwnedUserId, Typist>,
    /// The revision in which this last changed.
    revision: i64,
    /// Whether a task watches its deadlines.
    watched: bool,
}

/// One who types: times of the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Typist {
    /// Until when, unless it is said again.
    until: Duration,
    /// When the hooks were told last.
    told: Duration,
}

impl State {
    /// See [`Typing::was_lost`].
    fn was_lost(&self, revision: i64) -> bool {
        revision < self.first && revision % STEP == 1
    }
}

impl std::fmt::Debug for Typing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Typing").finish_non_exhaustive()
    }
}

impl Typing {
    /// Nobody types yet.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let first = clock.now_ms() * STEP;
        let state = State {
            rooms: BTreeMap::new(),
            first,
            revision: first,
        };
        Arc::new(Self {
            clock,
            state: Mutex::new(state),
            hooks: RwLock::default(),
        })
    }

    /// Calls `hook` at each change. It must be short and must not block.
    pub fn on_change(&self, hook: impl Fn(&TypingChange<'_>) + Send + Sync + 'static) {
        self.hooks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(hook));
    }

    /// The newest revision of all rooms.
    pub fn revision(&self) -> i64 {
        self.state().revision
    }

    /// A new revision, for something else that clients are told by the same number.
    pub(super) fn next_revision(&self) -> i64 {
        let mut state = self.state();
        state.revision += STEP;
        state.revision
    }

    /// Who types in a room, if that changed after `revision`.
    pub fn since(&self, room: &RoomId, revision: i64) -> Option<Vec<OwnedUserId>> {
        let state = self.state();
        let Some(room) = state.rooms.get(room) else {
            return state.was_lost(revision).then(Vec::new);
        };
        let is_new = room.revision > revision;
        is_new.then(|| room.users.keys().cloned().collect())
    }

    /// Whether a client with such a token may have been told of typing that ended with an earlier
    /// process: then every room is worth a word.
    pub fn was_lost(&self, revision: i64) -> bool {
        self.state().was_lost(revision)
    }

    /// What a token says of a revision, if its client is in the rooms for which `sees` answers yes.
    pub fn token(&self, revision: i64, sees: impl Fn(&RoomId) -> bool) -> i64 {
        let state = self.state();
        let mut active = state
            .rooms
            .iter()
            .filter(|(_, room)| !room.users.is_empty());
        revision | i64::from(active.any(|(room, _)| sees(room)))
    }

    /// The rooms in which something changed after `revision`.
    pub fn rooms_since(&self, revision: i64) -> Vec<OwnedRoomId> {
        let state = self.state();
        if state.revision <= revision {
            return Vec::new();
        }
        let changed = state
            .rooms
            .iter()
            .filter(|(_, room)| room.revision > revision);
        changed.map(|(id, _)| id.clone()).collect()
    }

    /// A user types in a room for the next `timeout`, at most [`TYPING_MS_MAX`].
    ///
    /// Whether the user may (membership) is the caller's to know.
    pub fn start(self: &Arc<Self>, room_id: &RoomId, user_id: &UserId, timeout: Duration) {
        let timeout = timeout.min(Duration::from_millis(TYPING_MS_MAX));
        let now = self.clock.monotonic();
        let until = now + timeout;
        let (changed, goes_on, watch) = {
            let mut state = self.state();
            let State {
                rooms, revision, ..
            } = &mut *state;
            if rooms.len() >= QUIET_ROOMS_MAX {
                rooms.retain(|_, room| !room.users.is_empty());
            }
            let room = rooms.entry(room_id.to_owned()).or_default();
            if room.users.len() >= TYPING_USERS_MAX && !room.users.contains_key(user_id) {
                return;
            }
            let before = room.users.get(user_id).copied();
            let changed = before.is_none();
            let due = before.is_none_or(|before| now.saturating_sub(before.told) >= RETELL_AFTER);
            let told = before.filter(|_| !due).map_or(now, |before| before.told);
            let typist = Typist { until, told };
            room.users.insert(user_id.to_owned(), typist);
            if changed {
                *revision += STEP;
                room.revision = *revision;
            }
            let watch = !std::mem::replace(&mut room.watched, true);
            (changed, due && !changed, watch)
        };
        if watch {
            tokio::spawn(Arc::clone(self).watch(room_id.to_owned()));
        }
        if changed || goes_on {
            self.tell(&TypingChange {
                room_id,
                user_id,
                typing: true,
                goes_on,
            });
        }
    }

    /// A user types in a room no longer.
    pub fn stop(&self, room_id: &RoomId, user_id: &UserId) {
        let changed = {
            let mut state = self.state();
            let State {
                rooms, revision, ..
            } = &mut *state;
            let room = rooms.get_mut(room_id);
            room.is_some_and(|room| {
                let typed = room.users.remove(user_id).is_some();
                if typed {
                    *revision += STEP;
                    room.revision = *revision;
                }
                typed
            })
        };
        if changed {
            self.tell(&TypingChange {
                room_id,
                user_id,
                typing: false,
                goes_on: false,
            });
        }
    }

    /// Ends the typing of a room as its deadlines pass, until nobody types there.
    async fn watch(self: Arc<Self>, room_id: OwnedRoomId) {
        while let Some(next) = self.next_deadline(&room_id) {
            self.clock.sleep_until(next).await;
            for user_id in &self.expire(&room_id) {
                self.tell(&TypingChange {
                    room_id: &room_id,
                    user_id,
                    typing: false,
                    goes_on: false,
                });
            }
        }
    }

    /// The next deadline in a room; if there is none, the watch is over.
    fn next_deadline(&self, room_id: &RoomId) -> Option<Duration> {
        let mut state = self.state();
        let room = state.rooms.get_mut(room_id)?;
        let next = room.users.values().map(|typist| typist.until).min();
        room.watched = next.is_some();
        next
    }

    /// Ends what is over, and answers whose typing that was.
    fn expire(&self, room_id: &RoomId) -> Vec<OwnedUserId> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let State {
            rooms, revision, ..
        } = &mut *state;
        let Some(room) = rooms.get_mut(room_id) else {
            return Vec::new();
        };
        let mut ended = Vec::new();
        room.users.retain(|user, typist| {
            let goes_on = typist.until > now;
            if !goes_on {
                ended.push(user.clone());
            }
            goes_on
        });
        if !ended.is_empty() {
            *revision += STEP;
            room.revision = *revision;
        }
        ended
    }

    fn tell(&self, change: &TypingChange<'_>) {
        for hook in self
            .hooks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            hook(change);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use ruma::{room_id, user_id};

    use super::*;
    use crate::clock::MockClock;

    #[tokio::test]
    async fn typing_is_told_once_and_ends_by_itself() {
        let clock = MockClock::default();
        let typing = Typing::new(Arc::new(clock.clone()));
        let told = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&told);
        typing.on_change(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let (room, alice) = (room_id!("!a:x.org"), user_id!("@alice:x.org"));
        let before = typing.revision();
        typing.start(room, alice, Duration::from_secs(30));
        let first = typing.revision();
        assert_eq!(typing.since(room, before), Some(vec![alice.to_owned()]));
        // Saying it again moves the deadline, and is nothing new.
        clock.wait_for_sleepers(1).await;
        typing.start(room, alice, Duration::from_secs(60 * 60));
        assert_eq!(typing.since(room, first), None);
        clock.advance(Duration::from_secs(30));
        clock.wait_for_sleepers(1).await;
        assert_eq!(typing.since(room, first), None);
        clock.advance(Duration::from_secs(90));
        while told.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(typing.since(room, first), Some(vec![]));
        assert_eq!(typing.rooms_since(first), [room]);
    }

    #[tokio::test]
    async fn typing_that_goes_on_is_told_again_before_others_forget_it() {
        let clock = MockClock::default();
        let typing = Typing::new(Arc::new(clock.clone()));
        let told = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&told);
        typing.on_change(move |change| {
            notes.lock().unwrap().push((change.typing, change.goes_on));
        });
        let (room, alice) = (room_id!("!a:x.org"), user_id!("@alice:x.org"));
        typing.start(room, alice, Duration::from_secs(60));
        let revision = typing.revision();
        clock.advance(RETELL_AFTER - Duration::from_millis(1));
        typing.start(room, alice, Duration::from_secs(60));
        assert_eq!(*told.lock().unwrap(), [(true, false)]);
        clock.advance(Duration::from_millis(1));
        typing.start(room, alice, Duration::from_secs(60));
        typing.start(room, alice, Duration::from_secs(60));
        assert_eq!(*told.lock().unwrap(), [(true, false), (true, true)]);
        // Clients here know it already.
        assert_eq!(typing.revision(), revision);
    }

    #[tokio::test]
    async fn a_crowd_is_bounded() {
        let typing = Typing::new(Arc::new(MockClock::default()));
        let room = room_id!("!a:x.org");
        for number in 0..2 * TYPING_USERS_MAX {
            let user = UserId::parse(format!("@u{number}:x.org")).unwrap();
            typing.start(room, &user, Duration::from_secs(30));
        }
        assert_eq!(typing.since(room, 0).unwrap().len(), TYPING_USERS_MAX);
        typing.stop(room, user_id!("@u1:x.org"));
        assert_eq!(typing.since(room, 0).unwrap().len(), TYPING_USERS_MAX - 1);
    }
}
