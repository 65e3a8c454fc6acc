//! Live sessions: what a token must refer to, from a cache where possible.
//!
//! Invariant: what this process ends is over at once, on open requests too; what another process
//! ends (the command line) is over within [`TRUSTED_FOR`].
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens>

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;
use ruma::{OwnedDeviceId, OwnedUserId};
use tokio::sync::watch;

use crate::{
    clock::Clock,
    store::{AccountState, ConfirmTokens, SessionRow, Store, StoreError, TouchDevice, day_of},
};

/// How many sessions are remembered; each costs about 400 bytes.
const SESSIONS_MAX: usize = 20_000;
/// How long a session is trusted without asking the database.
pub(super) const TRUSTED_FOR: Duration = Duration::from_secs(10);
/// How often an open request looks whether its session is still there.
const OPEN_CHECK_EVERY: Duration = Duration::from_secs(60);

/// A session that has just begun, or whose tokens have just been replaced: what tokens are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// Who logged in.
    pub user_id: OwnedUserId,
    /// With which device.
    pub device_id: OwnedDeviceId,
    /// Whether its access tokens expire and are refreshed.
    pub refreshable: bool,
    /// Which pair of tokens.
    pub token: TokenName,
}

/// Which of a session's pairs of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TokenName {
    /// How many pairs were used before it.
    pub step: i64,
    /// Which of those issued for this step.
    pub attempt: String,
}

/// What a token of a session is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// It may be used.
    Live,
    /// The session lives, but the token was replaced by one that has been used since, or dropped.
    Superseded,
    /// The account is locked.
    Locked,
    /// The session is over.
    Gone,
}

/// A session as remembered.
#[derive(Debug)]
struct Remembered {
    row: SessionRow,
    /// The clock's monotonic time when the database said so.
    at: Duration,
}

/// The sessions of all accounts.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    cache: Cache<Box<str>, Arc<Remembered>>,
    /// Counts what changed, so that a row that was read before a change is not remembered after it.
    changes: Mutex<u64>,
    /// Wakes open requests when sessions end.
    ended: watch::Sender<u64>,
}

impl Sessions {
    pub(super) fn new(store: Arc<Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            cache: Cache::new(SESSIONS_MAX),
            changes: Mutex::new(0),
            ended: watch::Sender::new(0),
        }
    }

    /// What a token with a good signature is worth; using one of a new pair makes the pair current.
    ///
    /// # Errors
    /// What the database says.
    pub async fn check(&self, id: &str, token: &TokenName) -> Result<SessionState, StoreError> {
        let Some(session) = self.find(id).await? else {
            return Ok(SessionState::Gone);
        };
        let row = &session.row;
        match row.account {
            AccountState::Active => {}
            AccountState::Locked => return Ok(SessionState::Locked),
            AccountState::Deactivated => return Ok(SessionState::Gone),
        }
        if (row.step, &row.attempt) == (token.step, &token.attempt) {
            return Ok(SessionState::Live);
        }
        let is_pending =
            row.step + 1 == token.step && row.pending_attempt.as_ref() == Some(&token.attempt);
        if !is_pending {
            return Ok(SessionState::Superseded);
        }
        // The first use of this pair.
        let confirm = ConfirmTokens {
            id: id.to_owned(),
            step: token.step,
            attempt: token.attempt.clone(),
        };
        let confirmed = Box::pin(self.store.commit(confirm)).await?.output;
        self.forget([id]);
        Ok(if confirmed {
            SessionState::Live
        } else {
            SessionState::Superseded
        })
    }

    /// What a session as a whole is worth: never [`SessionState::Superseded`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn state(&self, id: &str) -> Result<SessionState, StoreError> {
        let account = self.find(id).await?.map(|session| session.row.account);
        Ok(match account {
            Some(AccountState::Active) => SessionState::Live,
            Some(AccountState::Locked) => SessionState::Locked,
            Some(AccountState::Deactivated) | None => SessionState::Gone,
        })
    }

    /// Whether the user of a session may read, but say nothing.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_suspended(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self
            .find(id)
            .await?
            .is_some_and(|session| session.row.suspended))
    }

    /// Waits until the session is over: for requests that stay open. A failing database ends the
    /// wait as well, since nothing can be known then.
    pub async fn ended(&self, id: &str) {
        let mut changed = self.ended.subscribe();
        while matches!(self.state(id).await, Ok(SessionState::Live)) {
            tokio::select! {
                outcome = changed.changed() => {
                    if outcome.is_err() {
                        return;
                    }
                }
                () = self.clock.sleep(OPEN_CHECK_EVERY) => {}
            }
        }
    }

    /// Forgets what is remembered of sessions that changed or ended, and wakes what they hold open.
    pub fn forget<'a>(&self, ids: impl IntoIterator<Item = &'a str>) {
        let mut changes = self.changes();
        *changes += 1;
        for id in ids {
            self.cache.remove(id);
        }
        drop(changes);
        self.ended.send_modify(|count| *count += 1);
    }

    /// Forgets everything that is remembered: for changes of an account as a whole.
    pub fn forget_all(&self) {
        let mut changes = self.changes();
        *changes += 1;
        self.cache.clear();
        drop(changes);
        self.ended.send_modify(|count| *count += 1);
    }

    fn changes(&self) -> std::sync::MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn find(&self, id: &str) -> Result<Option<Arc<Remembered>>, StoreError> {
        let now = self.clock.monotonic();
        if let Some(known) = self.cache.get(id)
            && now.saturating_sub(known.at) < TRUSTED_FOR
        {
            return Ok(Some(known));
        }
        // Boxed: every open request holds this future, and asks the database seldom.
        Box::pin(self.ask(id, now)).await
    }

    /// What the database says of a session, remembered unless it changed meanwhile.
    async fn ask(&self, id: &str, now: Duration) -> Result<Option<Arc<Remembered>>, StoreError> {
        let before = *self.changes();
        let Some(row) = self.store.session(id).await? else {
            self.cache.remove(id);
            return Ok(None);
        };
        self.touch(&row).await?;
        let session = Arc::new(Remembered { row, at: now });
        let changes = self.changes();
        if *changes == before {
            self.cache.insert(id.into(), Arc::clone(&session));
        }
        drop(changes);
        Ok(Some(session))
    }

    /// Notes the day on which the device was used, once a day.
    async fn touch(&self, row: &SessionRow) -> Result<(), StoreError> {
        let day = day_of(self.clock.now_ms());
        if day <= row.seen_day {
            return Ok(());
        }
        let touch = TouchDevice {
            user_id: row.user_id.clone(),
            device_id: row.device_id.clone(),
            day,
        };
        self.store.commit(touch).await?;
        Ok(())
    }
}
