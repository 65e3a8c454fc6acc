//! Sessions: logins that tokens refer to, and the steps by which refresh tokens replace each other.
//!
//! Invariant: a session is at one `step`, reached by the pair of tokens named `attempt`; at most one
//! pair for the next step is outstanding. A pair becomes current when one of its tokens is used, and
//! only then is its predecessor spent.

use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, OnConflict},
};

use super::{
    AccountState, Change, LogKind, Scope, Store, StoreError, Tx,
    cross_signing::is_named_like_key,
    devices,
    entity::{accounts, devices as device_rows, sessions},
};

/// A login about to be stored.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its random id.
    pub id: String,
    /// Who logs in.
    pub user_id: OwnedUserId,
    /// With which device; made if there is none of that id.
    pub device_id: OwnedDeviceId,
    /// What a new device is called.
    pub display_name: Option<String>,
    /// Whether its access tokens expire and are refreshed.
    pub refreshable: bool,
    /// The name of its first pair of tokens.
    pub attempt: String,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// Milliseconds in a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The day of a moment, in days since the Unix epoch: all that is kept of when a device was used.
pub(crate) fn day_of(now_ms: i64) -> i64 {
    now_ms.div_euclid(DAY_MS)
}

/// Stores a login. What was logged in with the same device ends; its keys stay.
pub(super) async fn start(tx: &mut Tx, new: &NewSession) -> Result<Vec<String>, StoreError> {
    let same_device = Condition::all()
        .add(sessions::Column::UserId.eq(new.user_id.as_str()))
        .add(sessions::Column::DeviceId.eq(new.device_id.as_str()));
    let ended: Vec<String> = sessions::Entity::find()
        .select_only()
        .column(sessions::Column::Id)
        .filter(same_device.clone())
        .into_tuple()
        .all(tx.connection())
        .await?;
    sessions::Entity::delete_many()
        .filter(same_device)
        .exec(tx.connection())
        .await?;
    let device = device_rows::ActiveModel {
        user_id: Set(new.user_id.to_string()),
        device_id: Set(new.device_id.to_string()),
        display_name: Set(new.display_name.clone()),
        created_ms: Set(new.now_ms),
        seen_day: Set(day_of(new.now_ms)),
    };
    let made = device_rows::Entity::insert(device)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(tx.connection())
        .await?;
    if made == 1 {
        // "must be sent whenever that user's device list changes (i.e. for new or deleted devices, ...)", keys or none.
        let reference = Some(new.device_id.to_string());
        tx.append(Scope::Keys(&new.user_id), LogKind::DeviceList, reference);
    }
    let session = sessions::ActiveModel {
        id: Set(new.id.clone()),
        user_id: Set(new.user_id.to_string()),
        device_id: Set(new.device_id.to_string()),
        refreshable: Set(new.refreshable),
        step: Set(0),
        attempt: Set(new.attempt.clone()),
        pending_attempt: Set(None),
        created_ms: Set(new.now_ms),
    };
    sessions::Entity::insert(session)
        .exec_without_returning(tx.connection())
        .await?;
    Ok(ended)
}

/// A session as it stands, with what its account may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Who logged in.
    pub user_id: OwnedUserId,
    /// With which device.
    pub device_id: OwnedDeviceId,
    /// The step that it is at.
    pub step: i64,
    /// The pair of tokens that reached it.
    pub attempt: String,
    /// The pair for the next step that has not been used yet.
    pub pending_attempt: Option<String>,
    /// What the account may do.
    pub account: AccountState,
    /// Whether its user may read, but say nothing.
    pub suspended: bool,
    /// The day on which the device was last used, in days since the Unix epoch.
    pub seen_day: i64,
}

impl Store {
    /// A live session by its id.
    ///
    /// # Errors
    /// What the database says.
    pub async fn session(&self, id: &str) -> Result<Option<SessionRow>, StoreError> {
        let Some(row) = sessions::Entity::find_by_id(id).one(self.reader()).await? else {
            return Ok(None);
        };
        let state: Option<(i16, bool)> = accounts::Entity::find_by_id(row.user_id.clone())
            .select_only()
            .column(accounts::Column::State)
            .column(accounts::Column::Suspended)
            .into_tuple()
            .one(self.reader())
            .await?;
        let seen_day: Option<i64> =
            device_rows::Entity::find_by_id((row.user_id.clone(), row.device_id.clone()))
                .select_only()
                .column(device_rows::Column::SeenDay)
                .into_tuple()
                .one(self.reader())
                .await?;
        let (Some((state, suspended)), Some(seen_day)) = (state, seen_day) else {
            // It ended between the reads.
            return Ok(None);
        };
        let user_id =
            UserId::parse(&row.user_id).map_err(|_| StoreError::corrupt("sessions", "user_id"))?;
        Ok(Some(SessionRow {
            user_id,
            device_id: row.device_id.into(),
            step: row.step,
            attempt: row.attempt,
            pending_attempt: row.pending_attempt,
            account: AccountState::from_number(state)?,
            suspended,
            seen_day,
        }))
    }
}

/// Begins a session.
#[derive(Clone, Debug)]
pub struct StartSession(pub NewSession);

impl Change for StartSession {
    /// The ids of the sessions that ended, because they were of the same device; none if the
    /// account is gone or locked meanwhile, or one of its cross-signing keys has the device's name.
    type Output = Option<Vec<String>>;

    async fn apply(&self, tx: &mut Tx) -> Result<Self::Output, StoreError> {
        let state: Option<i16> = accounts::Entity::find_by_id(self.0.user_id.to_string())
            .select_only()
            .column(accounts::Column::State)
            .into_tuple()
            .one(tx.connection())
            .await?;
        if state != Some(AccountState::Active as i16) {
            return Ok(None);
        }
        if is_named_like_key(tx, &self.0.user_id, &self.0.device_id).await? {
            return Ok(None);
        }
        start(tx, &self.0).await.map(Some)
    }
}

/// Makes a pair of tokens current, because one of them has been used.
#[derive(Clone, Debug)]
pub(crate) struct ConfirmTokens {
    /// The session.
    pub(crate) id: String,
    /// The step of the pair.
    pub(crate) step: i64,
    /// Its name.
    pub(crate) attempt: String,
}

impl Change for ConfirmTokens {
    /// Whether the pair is current now.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let Some(row) = sessions::Entity::find_by_id(self.id.clone())
            .one(tx.connection())
            .await?
        else {
            return Ok(false);
        };
        if (row.step, &row.attempt) == (self.step, &self.attempt) {
            return Ok(true);
        }
        if row.step + 1 != self.step || row.pending_attempt.as_ref() != Some(&self.attempt) {
            return Ok(false);
        }
        set_step(tx, &self.id, self.step, &self.attempt, None).await?;
        Ok(true)
    }
}

/// Issues a new pair of tokens for a refresh token.
#[derive(Clone, Debug)]
pub(crate) struct RefreshTokens {
    /// The session.
    pub(crate) id: String,
    /// The step of the token presented.
    pub(crate) step: i64,
    /// The name of its pair.
    pub(crate) attempt: String,
    /// The name of the new pair.
    pub(crate) new_attempt: String,
}

/// What became of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// A new pair was issued, for this step.
    Issued {
        /// The step of the new pair.
        step: i64,
    },
    /// The token belongs to a pair that was dropped because it had not been used.
    Dropped,
    /// The token had been spent: somebody has stolen it or its successor. The session was ended.
    Stolen {
        /// The ids of the sessions that ended.
        ended: Vec<String>,
    },
    /// There is no such session, or its account is not active.
    Gone,
    /// The account is locked.
    Locked,
}

impl Change for RefreshTokens {
    type Output = Refreshed;

    async fn apply(&self, tx: &mut Tx) -> Result<Refreshed, StoreError> {
        let found = sessions::Entity::find_by_id(self.id.clone())
            .one(tx.connection())
            .await?;
        let Some(row) = found.filter(|row| row.refreshable) else {
            return Ok(Refreshed::Gone);
        };
        let state: Option<i16> = accounts::Entity::find_by_id(row.user_id.clone())
            .select_only()
            .column(accounts::Column::State)
            .into_tuple()
            .one(tx.connection())
            .await?;
        if state == Some(AccountState::Locked as i16) {
            return Ok(Refreshed::Locked);
        }
        if self.step < row.step {
            let user = UserId::parse(&row.user_id)
                .map_err(|_| StoreError::corrupt("sessions", "user_id"))?;
            let ended = devices::forget(tx, &user, &[row.device_id.into()]).await?;
            return Ok(Refreshed::Stolen { ended });
        }
        let is_current = (self.step, &self.attempt) == (row.step, &row.attempt);
        let is_pending =
            self.step == row.step + 1 && row.pending_attempt.as_ref() == Some(&self.attempt);
        if !is_current && !is_pending {
            return Ok(Refreshed::Dropped);
        }
        let pending = Some(self.new_attempt.clone());
        set_step(tx, &self.id, self.step, &self.attempt, pending).await?;
        Ok(Refreshed::Issued {
            step: self.step + 1,
        })
    }
}

/// Notes which pair is current and which is outstanding.
async fn set_step(
    tx: &Tx,
    id: &str,
    step: i64,
    attempt: &str,
    pending: Option<String>,
) -> Result<(), StoreError> {
    let updated = sessions::Entity::update_many()
        .col_expr(sessions::Column::Step, Expr::value(step))
        .col_expr(sessions::Column::Attempt, Expr::value(attempt))
        .col_expr(sessions::Column::PendingAttempt, Expr::value(pending))
        .filter(sessions::Column::Id.eq(id))
        .exec(tx.connection())
        .await?;
    StoreError::ensure_affected("sessions", 1, updated.rows_affected)
}
