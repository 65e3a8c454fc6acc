//! Who is online: in memory only, and only if the configuration says so.
//!
//! Invariant: switched off, nothing is kept and nobody is told. Revisions are those of [`Typing`], so that one number of a sync
//! token stands for both. One of ours is offline once they have not synced for [`IDLE_MAX`].
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#presence>

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use ruma::{OwnedUserId, UserId, presence::PresenceState};

use super::{json::JsonWriter, typing::Typing};
use crate::clock::Clock;

/// How long one of ours is taken to be there without a sync.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);
/// How long activity lasts, in ms.
const ACTIVE_MS: i64 = 60_000;
/// Users of whom anything is remembered; of more, nothing is told.
const USERS_MAX: usize = 50_000;
/// Longest status message that is kept, in characters.
const STATUS_CHARS_MAX: usize = 500;

/// What is known of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Whether they are there.
    pub presence: PresenceState,
    /// What they say of it.
    pub status_msg: Option<String>,
    /// When they last did something, in ms since the epoch.
    pub last_active_ms: i64,
    /// Whether they are doing something now.
    pub currently_active: bool,
}

impl Shown {
    /// How long ago they did something, in ms.
    pub fn last_active_ago(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(self.last_active_ms).max(0)
    }
}

#[derive(Debug)]
struct Entry {
    shown: Shown,
    /// The revision in which it last changed.
    revision: i64,
    /// Of ours: when they count as gone, by the monotonic clock.
    until: Option<Duration>,
}

type Hook = Box<dyn Fn(&UserId, &Shown) + Send + Sync>;

/// Who is online.
pub struct Presence {
    is_enabled: bool,
    clock: Arc<dyn Clock>,
    typing: Arc<Typing>,
    users: Mutex<HashMap<OwnedUserId, Entry>>,
    /// Whether a task watches who goes away.
    is_watched: Mutex<bool>,
    hooks: RwLock<Vec<Hook>>,
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presence")
            .field("is_enabled", &self.is_enabled)
            .finish_non_exhaustive()
    }
}

impl Presence {
    /// Nobody is there yet. Revisions are drawn from `typing`.
    pub fn new(is_enabled: bool, clock: Arc<dyn Clock>, typing: Arc<Typing>) -> Arc<Self> {
        Arc::new(Self {
            is_enabled,
            clock,
            typing,
            users: Mutex::default(),
            is_watched: Mutex::new(false),
            hooks: RwLock::default(),
        })
    }

    /// Whether the configuration wants it.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled
    }

    /// Calls `hook` at each change. It must be short and must not block.
    pub fn on_change(&self, hook: impl Fn(&UserId, &Shown) + Send + Sync + 'static) {
        let mut hooks = self.hooks.write().unwrap_or_else(PoisonError::into_inner);
        hooks.push(Box::new(hook));
    }

    /// What is known of a user; none if that is nothing, or presence is off.
    pub fn of(&self, user: &UserId) -> Option<Shown> {
        let users = self.users();
        users.get(user).map(|entry| entry.shown.clone())
    }

    /// Everyone of whom something changed after `revision`.
    pub fn since(&self, revision: i64) -> Vec<(OwnedUserId, Shown)> {
        let users = self.users();
        let changed = users.iter().filter(|(_, entry)| entry.revision > revision);
        changed
            .map(|(user, entry)| (user.clone(), entry.shown.clone()))
            .collect()
    }

    /// One of ours says how they are.
    pub fn set(self: &Arc<Self>, user: &UserId, presence: PresenceState, status: Option<String>) {
        let status_msg = status.map(|text| text.chars().take(STATUS_CHARS_MAX).collect());
        let now_ms = self.clock.now_ms();
        let shown = Shown {
            currently_active: presence == PresenceState::Online,
            presence,
            status_msg,
            last_active_ms: now_ms,
        };
        self.change(user, shown, true);
    }

    /// One of ours syncs, and wants to appear like this by it.
    pub fn synced(self: &Arc<Self>, user: &UserId, presence: PresenceState) {
        if !self.is_enabled || presence == PresenceState::Offline {
            return;
        }
        let before = self.of(user);
        let status_msg = before.as_ref().and_then(|shown| shown.status_msg.clone());
        let now_ms = self.clock.now_ms();
        let same = before.filter(|shown| shown.presence == presence);
        let shown = match same {
            // The same again is no news: only the time at which they are gone moves.
            Some(shown) if shown.last_active_ago(now_ms) < ACTIVE_MS => shown,
            Some(shown) if presence != PresenceState::Online => shown,
            _ => Shown {
                currently_active: presence == PresenceState::Online,
                presence,
                status_msg,
                last_active_ms: now_ms,
            },
        };
        self.change(user, shown, true);
    }

    /// Another server tells of its user.
    pub fn told(self: &Arc<Self>, user: &UserId, mut shown: Shown) {
        let status = shown.status_msg.take();
        shown.status_msg = status.map(|text| text.chars().take(STATUS_CHARS_MAX).collect());
        self.change(user, shown, false);
    }

    fn change(self: &Arc<Self>, user: &UserId, shown: Shown, is_ours: bool) {
        if !self.is_enabled {
            return;
        }
        let stays = is_ours && shown.presence != PresenceState::Offline;
        let until = stays.then(|| self.clock.monotonic() + IDLE_MAX);
        let is_news = {
            let mut users = self.users();
            if users.len() >= USERS_MAX && !users.contains_key(user) {
                return;
            }
            let before = users.get(user);
            let is_news = before.is_none_or(|before| before.shown != shown);
            let revision = match before {
                Some(before) if !is_news => before.revision,
                _ => self.typing.next_revision(),
            };
            let entry = Entry {
                shown: shown.clone(),
                revision,
                until,
            };
            users.insert(user.to_owned(), entry);
            is_news
        };
        if until.is_some() {
            self.watch();
        }
        if is_news {
            let hooks = self.hooks.read().unwrap_or_else(PoisonError::into_inner);
            hooks.iter().for_each(|hook| hook(user, &shown));
        }
    }

    /// Starts the task that notes who goes away, unless it runs.
    fn watch(self: &Arc<Self>) {
        let mut is_watched = self
            .is_watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *is_watched, true) {
            return;
        }
        drop(is_watched);
        let presence = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(next) = presence.next_end() {
                presence.clock.sleep_until(next).await;
                presence.end();
            }
        });
    }

    /// When the next of ours is gone; if there is nobody, the watch is over.
    fn next_end(&self) -> Option<Duration> {
        let mut is_watched = self
            .is_watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let users = self.users();
        let next = users.values().filter_map(|entry| entry.until).min();
        *is_watched = next.is_some();
        next
    }

    fn end(self: &Arc<Self>) {
        let now = self.clock.monotonic();
        let ended: Vec<(OwnedUserId, Shown)> = {
            let users = self.users();
            let gone = users
                .iter()
                .filter(|(_, entry)| entry.until.is_some_and(|until| until <= now));
            gone.map(|(user, entry)| (user.clone(), entry.shown.clone()))
                .collect()
        };
        for (user, shown) in ended {
            let shown = Shown {
                presence: PresenceState::Offline,
                currently_active: false,
                ..shown
            };
            self.change(&user, shown, true);
        }
    }

    fn users(&self) -> MutexGuard<'_, HashMap<OwnedUserId, Entry>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes `m.presence`, as a value.
pub fn write_presence(out: &mut JsonWriter, user: &UserId, shown: &Shown, now_ms: i64) {
    out.open().key("content").open();
    out.key("currently_active").boolean(shown.currently_active);
    out.key("last_active_ago")
        .number(shown.last_active_ago(now_ms));
    out.key("presence").string(shown.presence.as_str());
    if let Some(status) = &shown.status_msg {
        out.key("status_msg").string(status);
    }
    out.close().key("sender").string(user.as_str());
    out.key("type").string("m.presence").close();
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;
    use crate::clock::MockClock;

    fn presence(is_enabled: bool) -> (Arc<Presence>, MockClock) {
        let clock = MockClock::default();
        let typing = Typing::new(Arc::new(clock.clone()));
        let presence = Presence::new(is_enabled, Arc::new(clock.clone()), typing);
        (presence, clock)
    }

    #[tokio::test]
    async fn who_does_not_sync_any_more_goes_offline() {
        let (presence, clock) = presence(true);
        let alice = user_id!("@alice:x.org");
        let before = presence.typing.revision();
        presence.synced(alice, PresenceState::Online);
        let online = presence.of(alice).unwrap();
        assert_eq!(online.presence, PresenceState::Online);
        assert!(online.currently_active);
        assert_eq!(presence.since(before).len(), 1);
        let revision = presence.typing.revision();
        // The same again is no news.
        presence.synced(alice, PresenceState::Online);
        assert!(presence.since(revision).is_empty());
        clock.wait_for_sleepers(1).await;
        clock.advance(IDLE_MAX);
        while presence.of(alice).unwrap().presence != PresenceState::Offline {
            tokio::task::yield_now().await;
        }
        assert_eq!(presence.since(revision).len(), 1);
    }

    #[tokio::test]
    async fn switched_off_nothing_is_kept() {
        let (presence, _) = presence(false);
        let alice = user_id!("@alice:x.org");
        presence.synced(alice, PresenceState::Online);
        presence.set(alice, PresenceState::Online, Some("here".to_owned()));
        assert_eq!(presence.of(alice), None);
        assert!(presence.since(0).is_empty());
    }
}
