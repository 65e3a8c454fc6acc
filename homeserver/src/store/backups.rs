//! Backups of room keys: ciphertext that only its user's clients can read.
//!
//! Invariant: a version number is given once. A key is replaced only by a better one: verified
//! before not verified, then the lower first message index, then fewer forwards. `etag` moves with
//! every change of a version's keys.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups>

use std::collections::HashMap;

use ruma::{OwnedUserId, UserId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, OnConflict},
};

use super::{
    Change, Store, StoreError, Tx,
    entity::{backup_keys, key_backups},
};

/// How many keys a version may hold.
const KEYS_MAX: u64 = 1_000_000;
/// Rows in one statement: nine parameters each, below SQLite's limit.
const ROWS_MAX: usize = 1000;

/// A version of the backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its number.
    pub version: i64,
    /// The algorithm.
    pub algorithm: String,
    /// What the algorithm needs, as JSON.
    pub auth_data: String,
    /// Moves with every change of its keys.
    pub etag: i64,
}

impl From<key_backups::Model> for Backup {
    fn from(row: key_backups::Model) -> Self {
        Self {
            version: row.version,
            algorithm: row.algorithm,
            auth_data: row.auth_data,
            etag: row.etag,
        }
    }
}

/// Which keys of a version.
#[derive(Clone, Debug, Default)]
pub struct KeySelection {
    /// Of this room; of all if none.
    pub room_id: Option<String>,
    /// Of this session; of all if none.
    pub session_id: Option<String>,
}

impl KeySelection {
    fn of(&self, user: &UserId, version: i64) -> Select<backup_keys::Entity> {
        use backup_keys::Column;
        let mut keys = backup_keys::Entity::find()
            .filter(Column::UserId.eq(user.as_str()))
            .filter(Column::Version.eq(version));
        if let Some(room) = &self.room_id {
            keys = keys.filter(Column::RoomId.eq(room.as_str()));
        }
        if let Some(session) = &self.session_id {
            keys = keys.filter(Column::SessionId.eq(session.as_str()));
        }
        keys
    }
}

/// A key of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupKey {
    /// Of which room.
    pub room_id: String,
    /// Of which Megolm session.
    pub session_id: String,
    /// The first message that it decrypts.
    pub first_message_index: i64,
    /// How often it was forwarded.
    pub forwarded_count: i64,
    /// Whether the client had verified the device that it came from.
    pub is_verified: bool,
    /// The whole entry, as JSON.
    pub content: String,
}

impl BackupKey {
    /// Whether this key replaces a stored one.
    fn is_better_than(&self, stored: &backup_keys::Model) -> bool {
        let rank = (
            !self.is_verified,
            self.first_message_index,
            self.forwarded_count,
        );
        rank < (
            !stored.is_verified,
            stored.first_message_index,
            stored.forwarded_count,
        )
    }
}

impl Store {
    /// A version of a user's backup, or the newest; none if it was deleted.
    ///
    /// # Errors
    /// What the database says.
    pub async fn backup(
        &self,
        user: &UserId,
        version: Option<i64>,
    ) -> Result<Option<Backup>, StoreError> {
        let mut versions = key_backups::Entity::find()
            .filter(key_backups::Column::UserId.eq(user.as_str()))
            .filter(key_backups::Column::Deleted.eq(false));
        if let Some(version) = version {
            versions = versions.filter(key_backups::Column::Version.eq(version));
        }
        let newest = versions
            .order_by_desc(key_backups::Column::Version)
            .one(self.reader())
            .await?;
        Ok(newest.map(Backup::from))
    }

    /// How many keys a version holds.
    ///
    /// # Errors
    /// What the database says.
    pub async fn backup_count(&self, user: &UserId, version: i64) -> Result<u64, StoreError> {
        let keys = KeySelection::default().of(user, version);
        Ok(keys.count(self.reader()).await?)
    }

    /// Keys of a version.
    ///
    /// # Errors
    /// What the database says.
    pub async fn backup_keys(
        &self,
        user: &UserId,
        version: i64,
        which: &KeySelection,
    ) -> Result<Vec<BackupKey>, StoreError> {
        let rows = which.of(user, version).all(self.reader()).await?;
        Ok(rows
            .into_iter()
            .map(|row| BackupKey {
                room_id: row.room_id,
                session_id: row.session_id,
                first_message_index: row.first_message_index,
                forwarded_count: row.forwarded_count,
                is_verified: row.is_verified,
                content: row.content,
            })
            .collect())
    }
}

/// Makes a new version.
#[derive(Clone, Debug)]
pub struct CreateBackup {
    /// Whose.
    pub user_id: OwnedUserId,
    /// The algorithm.
    pub algorithm: String,
    /// What the algorithm needs, as JSON.
    pub auth_data: String,
}

impl Change for CreateBackup {
    /// Its number.
    type Output = i64;

    async fn apply(&self, tx: &mut Tx) -> Result<i64, StoreError> {
        let newest: Option<i64> = key_backups::Entity::find()
            .select_only()
            .column(key_backups::Column::Version)
            .filter(key_backups::Column::UserId.eq(self.user_id.as_str()))
            .order_by_desc(key_backups::Column::Version)
            .limit(1)
            .into_tuple()
            .one(tx.connection())
            .await?;
        let version = newest.unwrap_or(0) + 1;
        let row = key_backups::ActiveModel {
            user_id: Set(self.user_id.to_string()),
            version: Set(version),
            algorithm: Set(self.algorithm.clone()),
            auth_data: Set(self.auth_data.clone()),
            etag: Set(0),
            deleted: Set(false),
        };
        key_backups::Entity::insert(row)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(version)
    }
}

/// Replaces what the algorithm of a version needs.
#[derive(Clone, Debug)]
pub struct UpdateBackup {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Which version.
    pub version: i64,
    /// The algorithm, which stays the same.
    pub algorithm: String,
    /// What it needs from now on, as JSON.
    pub auth_data: String,
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupUpdate {
    /// It is stored.
    Stored,
    /// There is no such version.
    NotFound,
    /// The version has another algorithm.
    OtherAlgorithm,
}

impl Change for UpdateBackup {
    type Output = BackupUpdate;

    async fn apply(&self, tx: &mut Tx) -> Result<BackupUpdate, StoreError> {
        let key = (self.user_id.to_string(), self.version);
        let found = key_backups::Entity::find_by_id(key)
            .one(tx.connection())
            .await?;
        let Some(row) = found.filter(|row| !row.deleted) else {
            return Ok(BackupUpdate::NotFound);
        };
        if row.algorithm != self.algorithm {
            return Ok(BackupUpdate::OtherAlgorithm);
        }
        key_backups::Entity::update_many()
            .col_expr(
                key_backups::Column::AuthData,
                Expr::value(self.auth_data.as_str()),
            )
            .filter(key_backups::Column::UserId.eq(self.user_id.as_str()))
            .filter(key_backups::Column::Version.eq(self.version))
            .exec(tx.connection())
            .await?;
        Ok(BackupUpdate::Stored)
    }
}

/// Deletes a version with its keys; its number is never given again.
#[derive(Clone, Debug)]
pub struct DeleteBackup {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Which version.
    pub version: i64,
}

impl Change for DeleteBackup {
    /// Whether there ever was one.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        key_backups::Entity::update_many()
            .col_expr(key_backups::Column::Deleted, Expr::value(true))
            .col_expr(key_backups::Column::AuthData, Expr::value("{}"))
            .filter(key_backups::Column::UserId.eq(self.user_id.as_str()))
            .filter(key_backups::Column::Version.eq(self.version))
            .filter(key_backups::Column::Deleted.eq(false))
            .exec(tx.connection())
            .await?;
        delete(tx, &self.user_id, self.version, &KeySelection::default()).await?;
        // "If the backup was previously deleted, the call should succeed rather than returning an error."
        let known = key_backups::Entity::find_by_id((self.user_id.to_string(), self.version))
            .one(tx.connection())
            .await?;
        Ok(known.is_some())
    }
}

async fn delete(
    tx: &Tx,
    user: &UserId,
    version: i64,
    which: &KeySelection,
) -> Result<u64, StoreError> {
    use backup_keys::Column;
    let mut keys = backup_keys::Entity::delete_many()
        .filter(Column::UserId.eq(user.as_str()))
        .filter(Column::Version.eq(version));
    if let Some(room) = &which.room_id {
        keys = keys.filter(Column::RoomId.eq(room.as_str()));
    }
    if let Some(session) = &which.session_id {
        keys = keys.filter(Column::SessionId.eq(session.as_str()));
    }
    Ok(keys.exec(tx.connection()).await?.rows_affected)
}

/// How the keys of a version change.
#[derive(Clone, Debug)]
pub enum BackupEdit {
    /// Keys are added where they are better than what is there. Only to the newest version.
    Add(Vec<BackupKey>),
    /// Keys are deleted.
    Delete(KeySelection),
}

/// Changes keys of a version.
#[derive(Clone, Debug)]
pub struct EditBackup {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Which version.
    pub version: i64,
    /// How.
    pub edit: BackupEdit,
}

/// What became of a change of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupEdited {
    /// It is stored.
    Stored {
        /// The version's etag now.
        etag: i64,
        /// How many keys it holds now.
        count: u64,
    },
    /// There is no such version.
    NotFound,
    /// There is a newer version, which is the one to add to.
    WrongVersion {
        /// The newest version.
        current: i64,
    },
    /// It would hold too many keys.
    TooMany,
}

impl Change for EditBackup {
    type Output = BackupEdited;

    async fn apply(&self, tx: &mut Tx) -> Result<BackupEdited, StoreError> {
        let versions = key_backups::Entity::find()
            .filter(key_backups::Column::UserId.eq(self.user_id.as_str()))
            .filter(key_backups::Column::Deleted.eq(false))
            .order_by_desc(key_backups::Column::Version)
            .all(tx.connection())
            .await?;
        let newest = versions.first().map(|row| row.version);
        let Some(row) = versions.iter().find(|row| row.version == self.version) else {
            return Ok(match (&self.edit, newest) {
                (BackupEdit::Add(_), Some(current)) => BackupEdited::WrongVersion { current },
                _ => BackupEdited::NotFound,
            });
        };
        let changed = match &self.edit {
            BackupEdit::Add(_) if newest != Some(self.version) => {
                let current = newest.unwrap_or_default();
                return Ok(BackupEdited::WrongVersion { current });
            }
            BackupEdit::Add(keys) if !self.has_room(tx, keys.len()).await? => {
                return Ok(BackupEdited::TooMany);
            }
            BackupEdit::Add(keys) => self.add(tx, keys).await?,
            BackupEdit::Delete(which) => delete(tx, &self.user_id, self.version, which).await?,
        };
        let etag = row.etag + i64::from(changed > 0);
        key_backups::Entity::update_many()
            .col_expr(key_backups::Column::Etag, Expr::value(etag))
            .filter(key_backups::Column::UserId.eq(self.user_id.as_str()))
            .filter(key_backups::Column::Version.eq(self.version))
            .exec(tx.connection())
            .await?;
        let keys = KeySelection::default().of(&self.user_id, self.version);
        let count = keys.count(tx.connection()).await?;
        Ok(BackupEdited::Stored { etag, count })
    }
}

impl EditBackup {
    /// Adds the keys that are new or better; answers how many.
    async fn add(&self, tx: &Tx, keys: &[BackupKey]) -> Result<u64, StoreError> {
        use backup_keys::Column;
        let mut changed = 0;
        for chunk in keys.chunks(ROWS_MAX) {
            let sessions = chunk.iter().map(|key| key.session_id.as_str());
            let stored = KeySelection::default()
                .of(&self.user_id, self.version)
                .filter(Column::SessionId.is_in(sessions))
                .all(tx.connection())
                .await?;
            let stored: HashMap<(&str, &str), &backup_keys::Model> = stored
                .iter()
                .map(|row| ((&*row.room_id, &*row.session_id), row))
                .collect();
            let rows: Vec<backup_keys::ActiveModel> = chunk
                .iter()
                .filter(|key| {
                    stored
                        .get(&(&*key.room_id, &*key.session_id))
                        .is_none_or(|stored| key.is_better_than(stored))
                })
                .map(|key| self.row(key))
                .collect();
            changed += rows.len() as u64;
            if rows.is_empty() {
                continue;
            }
            backup_keys::Entity::insert_many(rows)
                .on_conflict(
                    OnConflict::columns([
                        Column::UserId,
                        Column::Version,
                        Column::RoomId,
                        Column::SessionId,
                    ])
                    .update_columns([
                        Column::FirstMessageIndex,
                        Column::ForwardedCount,
                        Column::IsVerified,
                        Column::Content,
                    ])
                    .to_owned(),
                )
                .exec_without_returning(tx.connection())
                .await?;
        }
        Ok(changed)
    }

    /// Whether a version may take so many keys more.
    async fn has_room(&self, tx: &Tx, keys: usize) -> Result<bool, StoreError> {
        let kept = KeySelection::default().of(&self.user_id, self.version);
        Ok(kept.count(tx.connection()).await? + keys as u64 <= KEYS_MAX)
    }

    fn row(&self, key: &BackupKey) -> backup_keys::ActiveModel {
        backup_keys::ActiveModel {
            user_id: Set(self.user_id.to_string()),
            version: Set(self.version),
            room_id: Set(key.room_id.clone()),
            session_id: Set(key.session_id.clone()),
            first_message_index: Set(key.first_message_index),
            forwarded_count: Set(key.forwarded_count),
            is_verified: Set(key.is_verified),
            content: Set(key.content.clone()),
        }
    }
}
