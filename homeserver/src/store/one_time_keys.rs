//! Uploading keys of a device, and counting what it has left to give out (`claims.rs`).
//!
//! Invariant: a key id never stands for two different keys. A device is never named like a
//! cross-signing key of its user.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys>

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use quick_cache::sync::Cache;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, sea_query::OnConflict,
};

use super::{
    Change, LogKind, Published, Scope, Store, StoreError, Tx,
    cross_signing::is_named_like_key,
    entity::{device_keys, devices, fallback_keys, one_time_keys},
};

/// How many one-time keys a device may keep here.
pub(super) const ONE_TIME_KEYS_MAX: u64 = 1000;
/// How many devices' counts are remembered; each costs about 300 bytes.
const COUNTS_CACHED_MAX: usize = 20_000;

/// A one-time or fallback key about to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Algorithm and name, `signed_curve25519:AAAAHQ`.
    pub key_id: String,
    /// The algorithm alone.
    pub algorithm: String,
    /// The key, as JSON.
    pub content: String,
}

/// What a device has left to give out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// One-time keys by algorithm.
    pub one_time: BTreeMap<String, u64>,
    /// Algorithms whose fallback key has not been given out.
    pub unused_fallback: Vec<String>,
}

type CountKey = (Box<str>, Box<str>);

/// Counts as remembered.
#[derive(Debug)]
pub(super) struct CountCache {
    counts: Cache<CountKey, Arc<KeyCounts>>,
    changes: Mutex<u64>,
}

impl CountCache {
    pub(super) fn new() -> Self {
        Self {
            counts: Cache::new(COUNTS_CACHED_MAX),
            changes: Mutex::new(0),
        }
    }

    /// Drops the counts of devices that came, went or changed.
    pub(super) fn on_commit(&self, published: &Published) {
        for row in &published.rows {
            if row.kind == LogKind::DeviceList
                && let (Some(user), Some(device)) = (row.scope.strip_prefix('k'), &row.reference)
            {
                self.forget(user, device);
            }
        }
    }

    pub(super) fn forget(&self, user: &str, device: &str) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes += 1;
        self.counts.remove(&(user.into(), device.into()));
    }
}

impl Store {
    /// What a device has left to give out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn key_counts(
        &self,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<Arc<KeyCounts>, StoreError> {
        let cache = &self.count_cache;
        let key: CountKey = (user.as_str().into(), device.as_str().into());
        if let Some(counts) = cache.counts.get(&key) {
            return Ok(counts);
        }
        let lock = || cache.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = *lock();
        let counts = Arc::new(self.load_key_counts(user, device).await?);
        let changes = lock();
        if *changes == mark {
            cache.counts.insert(key, Arc::clone(&counts));
        }
        Ok(counts)
    }

    async fn load_key_counts(
        &self,
        user: &UserId,
        device: &DeviceId,
    ) -> Result<KeyCounts, StoreError> {
        let counts: Vec<(String, i64)> = one_time_keys::Entity::find()
            .select_only()
            .column(one_time_keys::Column::Algorithm)
            .column_as(one_time_keys::Column::Id.count(), "count")
            .filter(one_time_keys::Column::UserId.eq(user.as_str()))
            .filter(one_time_keys::Column::DeviceId.eq(device.as_str()))
            .group_by(one_time_keys::Column::Algorithm)
            .into_tuple()
            .all(self.reader())
            .await?;
        let unused_fallback: Vec<String> = fallback_keys::Entity::find()
            .select_only()
            .column(fallback_keys::Column::Algorithm)
            .filter(fallback_keys::Column::UserId.eq(user.as_str()))
            .filter(fallback_keys::Column::DeviceId.eq(device.as_str()))
            .filter(fallback_keys::Column::Used.eq(false))
            .order_by_asc(fallback_keys::Column::Algorithm)
            .into_tuple()
            .all(self.reader())
            .await?;
        Ok(KeyCounts {
            one_time: counts
                .into_iter()
                .map(|(algorithm, count)| (algorithm, u64::try_from(count).unwrap_or(0)))
                .collect(),
            unused_fallback,
        })
    }

    /// Stores a device's keys.
    ///
    /// # Errors
    /// What the database says.
    pub async fn upload_keys(&self, upload: UploadKeys) -> Result<KeyUpload, StoreError> {
        let (user, device) = (upload.user_id.clone(), upload.device_id.clone());
        let output = self.commit(upload).await?.output;
        self.count_cache.forget(user.as_str(), device.as_str());
        Ok(output)
    }
}

/// Stores a device's keys: all of them or, if one is refused, none.
#[derive(Clone, Debug)]
pub struct UploadKeys {
    /// Whose.
    pub user_id: OwnedUserId,
    /// Of which device.
    pub device_id: OwnedDeviceId,
    /// The identity keys, checked, as canonical JSON.
    pub device_keys: Option<String>,
    /// One-time keys.
    pub one_time_keys: Vec<NewKey>,
    /// Fallback keys, at most one an algorithm.
    pub fallback_keys: Vec<NewKey>,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUpload {
    /// It is stored.
    Stored,
    /// A key id is taken by another key.
    KeyIdTaken,
    /// The device would keep more than [`ONE_TIME_KEYS_MAX`].
    TooMany,
    /// The device is named like a cross-signing key of its user.
    NamedLikeKey,
    /// The device was deleted meanwhile.
    NoDevice,
}

impl Change for UploadKeys {
    type Output = KeyUpload;

    async fn apply(&self, tx: &mut Tx) -> Result<KeyUpload, StoreError> {
        let key = (self.user_id.to_string(), self.device_id.to_string());
        if devices::Entity::find_by_id(key.clone())
            .one(tx.connection())
            .await?
            .is_none()
        {
            return Ok(KeyUpload::NoDevice);
        }
        let new_keys = match self.new_one_time_keys(tx).await? {
            Ok(keys) => keys,
            Err(refusal) => return Ok(refusal),
        };
        if self.device_keys.is_some()
            && is_named_like_key(tx, &self.user_id, &self.device_id).await?
        {
            return Ok(KeyUpload::NamedLikeKey);
        }
        self.insert_one_time_keys(tx, new_keys).await?;
        for fallback in &self.fallback_keys {
            self.replace_fallback_key(tx, fallback).await?;
        }
        if let Some(content) = &self.device_keys {
            self.store_device_keys(tx, content).await?;
        }
        Ok(KeyUpload::Stored)
    }
}

impl UploadKeys {
    /// The one-time keys that are not there yet, or why they are refused.
    async fn new_one_time_keys(
        &self,
        tx: &Tx,
    ) -> Result<Result<Vec<NewKey>, KeyUpload>, StoreError> {
        if self.one_time_keys.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let of_device = Condition::all()
            .add(one_time_keys::Column::UserId.eq(self.user_id.as_str()))
            .add(one_time_keys::Column::DeviceId.eq(self.device_id.as_str()));
        let ids = self.one_time_keys.iter().map(|key| key.key_id.as_str());
        let known: Vec<(String, String)> = one_time_keys::Entity::find()
            .select_only()
            .column(one_time_keys::Column::KeyId)
            .column(one_time_keys::Column::Content)
            .filter(of_device.clone())
            .filter(one_time_keys::Column::KeyId.is_in(ids))
            .into_tuple()
            .all(tx.connection())
            .await?;
        let known: HashMap<String, String> = known.into_iter().collect();
        let mut new = Vec::new();
        for key in &self.one_time_keys {
            match known.get(&key.key_id) {
                Some(content) if *content == key.content => {}
                Some(_) => return Ok(Err(KeyUpload::KeyIdTaken)),
                None => new.push(key.clone()),
            }
        }
        let kept = one_time_keys::Entity::find()
            .filter(of_device)
            .count(tx.connection())
            .await?;
        if kept + new.len() as u64 > ONE_TIME_KEYS_MAX {
            return Ok(Err(KeyUpload::TooMany));
        }
        Ok(Ok(new))
    }

    async fn insert_one_time_keys(&self, tx: &Tx, keys: Vec<NewKey>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let newest: Option<i64> = one_time_keys::Entity::find()
            .select_only()
            .column(one_time_keys::Column::Id)
            .order_by_desc(one_time_keys::Column::Id)
            .limit(1)
            .into_tuple()
            .one(tx.connection())
            .await?;
        let rows =
            (newest.unwrap_or(0) + 1..)
                .zip(keys)
                .map(|(id, key)| one_time_keys::ActiveModel {
                    id: Set(id),
                    user_id: Set(self.user_id.to_string()),
                    device_id: Set(self.device_id.to_string()),
                    key_id: Set(key.key_id),
                    algorithm: Set(key.algorithm),
                    content: Set(key.content),
                });
        one_time_keys::Entity::insert_many(rows)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(())
    }

    /// Replaces a fallback key; the same key again stays as used as it was.
    async fn replace_fallback_key(&self, tx: &Tx, key: &NewKey) -> Result<(), StoreError> {
        use fallback_keys::Column;
        let primary = (
            self.user_id.to_string(),
            self.device_id.to_string(),
            key.algorithm.clone(),
        );
        let known = fallback_keys::Entity::find_by_id(primary)
            .one(tx.connection())
            .await?;
        if known.is_some_and(|known| known.key_id == key.key_id && known.content == key.content) {
            return Ok(());
        }
        let row = fallback_keys::ActiveModel {
            user_id: Set(self.user_id.to_string()),
            device_id: Set(self.device_id.to_string()),
            algorithm: Set(key.algorithm.clone()),
            key_id: Set(key.key_id.clone()),
            content: Set(key.content.clone()),
            used: Set(false),
        };
        fallback_keys::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([Column::UserId, Column::DeviceId, Column::Algorithm])
                    .update_columns([Column::KeyId, Column::Content, Column::Used])
                    .to_owned(),
            )
            .exec_without_returning(tx.connection())
            .await?;
        Ok(())
    }

    async fn store_device_keys(&self, tx: &mut Tx, content: &str) -> Result<(), StoreError> {
        use device_keys::Column;
        let primary = (self.user_id.to_string(), self.device_id.to_string());
        let known = device_keys::Entity::find_by_id(primary)
            .one(tx.connection())
            .await?;
        if known.is_some_and(|known| known.content == content) {
            return Ok(());
        }
        let row = device_keys::ActiveModel {
            user_id: Set(self.user_id.to_string()),
            device_id: Set(self.device_id.to_string()),
            content: Set(content.to_owned()),
        };
        device_keys::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([Column::UserId, Column::DeviceId])
                    .update_column(Column::Content)
                    .to_owned(),
            )
            .exec_without_returning(tx.connection())
            .await?;
        let device = Some(self.device_id.to_string());
        tx.append(Scope::Keys(&self.user_id), LogKind::DeviceList, device);
        Ok(())
    }
}
