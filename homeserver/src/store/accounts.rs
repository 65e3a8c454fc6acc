//! Local users: who exists, and what proves who they are.
//!
//! Invariant: a user id is given once for ever; a deactivated account keeps its row and nothing else.

use ruma::{OwnedUserId, UserId, push::Ruleset};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};

use super::{
    Change, LogKind, Scope, Store, StoreError, Tx, account_data, devices,
    entity::{
        account_data as account_data_rows, accounts, backup_keys, cross_signing_keys, filters,
        key_backups, key_signatures, login_tokens, openid_tokens, profiles,
    },
    push_rules, registration_tokens,
    sessions::{self, NewSession},
};

/// What an account may do. The numbers are stored: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum AccountState {
    /// Everything.
    Active = 0,
    /// Nothing, for ever.
    Deactivated = 1,
    /// Nothing until an administrator unlocks it; sessions are kept.
    Locked = 2,
}

impl AccountState {
    pub(super) fn from_number(number: i16) -> Result<Self, StoreError> {
        match number {
            0 => Ok(Self::Active),
            1 => Ok(Self::Deactivated),
            2 => Ok(Self::Locked),
            _ => Err(StoreError::corrupt("accounts", "state")),
        }
    }
}

/// A local user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Who.
    pub user_id: OwnedUserId,
    /// The Argon2id hash in PHC form; none if no password opens the account.
    pub password_hash: Option<String>,
    /// What it may do.
    pub state: AccountState,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Whether the user may read, but say nothing.
    pub suspended: bool,
}

impl TryFrom<accounts::Model> for Account {
    type Error = StoreError;

    fn try_from(row: accounts::Model) -> Result<Self, StoreError> {
        let user_id =
            UserId::parse(&row.user_id).map_err(|_| StoreError::corrupt("accounts", "user_id"))?;
        Ok(Self {
            user_id,
            password_hash: row.password_hash,
            state: AccountState::from_number(row.state)?,
            created_ms: row.created_ms,
            suspended: row.suspended,
        })
    }
}

impl Store {
    /// The account of a user, deactivated ones included.
    ///
    /// # Errors
    /// What the database says.
    pub async fn account(&self, user: &UserId) -> Result<Option<Account>, StoreError> {
        let row = accounts::Entity::find_by_id(user.to_string())
            .one(self.reader())
            .await?;
        row.map(Account::try_from).transpose()
    }

    /// Accounts in the order of their ids, from after `after`, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn accounts(&self, after: &str, limit: u64) -> Result<Vec<Account>, StoreError> {
        let rows = accounts::Entity::find()
            .filter(accounts::Column::UserId.gt(after))
            .order_by_asc(accounts::Column::UserId)
            .limit(limit)
            .all(self.reader())
            .await?;
        rows.into_iter().map(Account::try_from).collect()
    }
}

/// Makes an account and, with it, its first session.
#[derive(Clone, Debug)]
pub struct CreateAccount {
    /// The id wished for.
    pub user_id: OwnedUserId,
    /// The Argon2id hash in PHC form; none if no password opens the account.
    pub password_hash: Option<String>,
    /// The registration token that is used up by it.
    pub registration_token: Option<String>,
    /// The session to begin; its user is `user_id`.
    pub session: Option<NewSession>,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// What became of a wish for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It exists now.
    Created,
    /// The id was given before.
    InUse,
    /// The registration token is unknown, expired or used up.
    TokenRefused,
}

impl Change for CreateAccount {
    type Output = Creation;

    async fn apply(&self, tx: &mut Tx) -> Result<Creation, StoreError> {
        let id = self.user_id.to_string();
        let known = accounts::Entity::find_by_id(id.clone())
            .one(tx.connection())
            .await?;
        if known.is_some() {
            return Ok(Creation::InUse);
        }
        if let Some(token) = &self.registration_token
            && !registration_tokens::use_up(tx, token, self.now_ms).await?
        {
            return Ok(Creation::TokenRefused);
        }
        let row = accounts::ActiveModel {
            user_id: Set(id),
            password_hash: Set(self.password_hash.clone()),
            state: Set(AccountState::Active as i16),
            created_ms: Set(self.now_ms),
            suspended: Set(false),
        };
        accounts::Entity::insert(row)
            .exec_without_returning(tx.connection())
            .await?;
        let rules = push_rules::to_json(Ruleset::server_default(&self.user_id))?;
        account_data::write(tx, &self.user_id, None, push_rules::PUSH_RULES, &rules).await?;
        if let Some(session) = &self.session {
            sessions::start(tx, session).await?;
        }
        Ok(Creation::Created)
    }
}

/// Replaces the password and, if wished, ends all other sessions with their devices.
#[derive(Clone, Debug)]
pub struct SetPassword {
    /// Whose.
    pub user_id: OwnedUserId,
    /// The Argon2id hash in PHC form.
    pub password_hash: String,
    /// Whether to end all sessions but that of `keep_device`.
    pub end_sessions: bool,
    /// The device that stays logged in.
    pub keep_device: Option<ruma::OwnedDeviceId>,
}

impl Change for SetPassword {
    /// The ids of the sessions that ended; none if there is no active account.
    type Output = Option<Vec<String>>;

    async fn apply(&self, tx: &mut Tx) -> Result<Self::Output, StoreError> {
        let updated = accounts::Entity::update_many()
            .col_expr(
                accounts::Column::PasswordHash,
                Expr::value(self.password_hash.clone()),
            )
            .filter(accounts::Column::UserId.eq(self.user_id.as_str()))
            .filter(accounts::Column::State.ne(AccountState::Deactivated as i16))
            .exec(tx.connection())
            .await?;
        if updated.rows_affected == 0 {
            return Ok(None);
        }
        if !self.end_sessions {
            return Ok(Some(Vec::new()));
        }
        let mut others = devices::ids(tx, &self.user_id).await?;
        others.retain(|id| self.keep_device.as_ref().is_none_or(|keep| keep != id));
        devices::forget(tx, &self.user_id, &others).await.map(Some)
    }
}

/// Locks or unlocks an account: its sessions stay, but may do nothing while it is locked.
#[derive(Clone, Debug)]
pub struct SetLocked {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Whether it is locked from now on.
    pub locked: bool,
}

impl Change for SetLocked {
    /// Whether there is such an account, not deactivated.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let state = if self.locked {
            AccountState::Locked
        } else {
            AccountState::Active
        };
        let updated = accounts::Entity::update_many()
            .col_expr(accounts::Column::State, Expr::value(state as i16))
            .filter(accounts::Column::UserId.eq(self.user_id.as_str()))
            .filter(accounts::Column::State.ne(AccountState::Deactivated as i16))
            .exec(tx.connection())
            .await?;
        Ok(updated.rows_affected == 1)
    }
}

/// Suspends an account, or ends that: its user may read, but say nothing.
#[derive(Clone, Debug)]
pub struct SetSuspended {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Whether it is suspended from now on.
    pub suspended: bool,
}

impl Change for SetSuspended {
    /// Whether there is such an account, not deactivated.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let updated = accounts::Entity::update_many()
            .col_expr(accounts::Column::Suspended, Expr::value(self.suspended))
            .filter(accounts::Column::UserId.eq(self.user_id.as_str()))
            .filter(accounts::Column::State.ne(AccountState::Deactivated as i16))
            .exec(tx.connection())
            .await?;
        Ok(updated.rows_affected == 1)
    }
}

/// Ends an account for ever: password, sessions, devices, keys, profile and account data go; the
/// id stays taken.
#[derive(Clone, Debug)]
pub struct Deactivate {
    /// Whose.
    pub user_id: OwnedUserId,
}

impl Change for Deactivate {
    /// The ids of the sessions that ended; none if there is no active account.
    type Output = Option<Vec<String>>;

    async fn apply(&self, tx: &mut Tx) -> Result<Self::Output, StoreError> {
        let id = self.user_id.as_str();
        let updated = accounts::Entity::update_many()
            .col_expr(accounts::Column::PasswordHash, Expr::value(None::<String>))
            .col_expr(
                accounts::Column::State,
                Expr::value(AccountState::Deactivated as i16),
            )
            .filter(accounts::Column::UserId.eq(id))
            .filter(accounts::Column::State.ne(AccountState::Deactivated as i16))
            .exec(tx.connection())
            .await?;
        if updated.rows_affected == 0 {
            return Ok(None);
        }
        let devices = devices::ids(tx, &self.user_id).await?;
        let ended = devices::forget(tx, &self.user_id, &devices).await?;
        macro_rules! delete_from {
            ($($table:ident),*) => {$(
                $table::Entity::delete_many()
                    .filter($table::Column::UserId.eq(id))
                    .exec(tx.connection())
                    .await?;
            )*};
        }
        delete_from!(
            profiles,
            account_data_rows,
            filters,
            openid_tokens,
            login_tokens,
            cross_signing_keys,
            key_backups,
            backup_keys
        );
        key_signatures::Entity::delete_many()
            .filter(key_signatures::Column::Signer.eq(id))
            .exec(tx.connection())
            .await?;
        tx.append(Scope::Keys(&self.user_id), LogKind::DeviceList, None);
        Ok(Some(ended))
    }
}
