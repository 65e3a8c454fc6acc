//! Identity keys of local devices and cross-signing keys of local users, by user and from a cache.
//!
//! Invariant: a user's entry in the cache is dropped by the commit that changes his keys, before
//! that commit is answered; an entry read before a change is never remembered after it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use quick_cache::{Weighter, sync::Cache};
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde_json::value::RawValue;

use super::{
    LogKind, Published, Store, StoreError,
    entity::{cross_signing_keys, device_keys},
};

/// What most users' keys take.
const USER_BYTES_TYPICAL: u64 = 2_000;
/// Bytes that an entry costs besides the keys.
const ENTRY_BYTES: u64 = 200;

/// What a cross-signing key is for. The numbers are stored: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum KeyUsage {
    /// The user's identity: signs the other two.
    Master = 1,
    /// Signs the user's own devices.
    SelfSigning = 2,
    /// Signs other users' master keys; only its owner sees it.
    UserSigning = 3,
}

impl KeyUsage {
    fn from_number(number: i16) -> Result<Self, StoreError> {
        match number {
            1 => Ok(Self::Master),
            2 => Ok(Self::SelfSigning),
            3 => Ok(Self::UserSigning),
            _ => Err(StoreError::corrupt("cross_signing_keys", "usage")),
        }
    }
}

/// A cross-signing key as stored.
#[derive(Clone, Debug)]
pub struct CrossSigningKey {
    /// The public key, in unpadded base64.
    pub public_key: String,
    /// The key object.
    pub content: Box<RawValue>,
}

/// All public keys of one user, as everybody may see them (but for the user-signing key).
#[derive(Clone, Debug, Default)]
pub struct UserKeys {
    /// Of each device that has uploaded them.
    pub devices: BTreeMap<OwnedDeviceId, Box<RawValue>>,
    /// The cross-signing keys.
    pub cross_signing: BTreeMap<KeyUsage, CrossSigningKey>,
}

impl UserKeys {
    fn bytes(&self) -> usize {
        let devices = self.devices.values().map(|keys| keys.get().len());
        let cross = self
            .cross_signing
            .values()
            .map(|key| key.content.get().len());
        devices.chain(cross).sum()
    }
}

#[derive(Clone, Debug)]
pub(super) struct ByBytes;

impl Weighter<Box<str>, Arc<UserKeys>> for ByBytes {
    fn weight(&self, _: &Box<str>, keys: &Arc<UserKeys>) -> u64 {
        ENTRY_BYTES + keys.bytes() as u64
    }
}

/// The keys of users as remembered.
#[derive(Debug)]
pub(super) struct KeyCache {
    users: Cache<Box<str>, Arc<UserKeys>, ByBytes>,
    /// Counts the changes.
    changes: Mutex<u64>,
}

impl KeyCache {
    /// An empty cache that may take so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        let users = usize::try_from(bytes_max / USER_BYTES_TYPICAL).unwrap_or(usize::MAX);
        Self {
            users: Cache::with_weighter(users, bytes_max, ByBytes),
            changes: Mutex::new(0),
        }
    }

    /// Drops the entries of users whose keys a commit has changed.
    pub(super) fn on_commit(&self, published: &Published) {
        let changed = published
            .rows
            .iter()
            .filter(|row| row.kind == LogKind::DeviceList)
            .filter_map(|row| row.scope.strip_prefix('k'));
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        for user in changed {
            *changes += 1;
            self.users.remove(user);
        }
    }

    fn mark(&self) -> u64 {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, user: &UserId, keys: &Arc<UserKeys>, mark: u64) {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if *changes == mark {
            self.users.insert(user.as_str().into(), Arc::clone(keys));
        }
    }
}

impl Store {
    /// The keys of local users; empty ones for who has none. One read a table, whatever their number.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for keys that are no JSON.
    pub async fn keys_of(
        &self,
        users: &[&UserId],
    ) -> Result<HashMap<OwnedUserId, Arc<UserKeys>>, StoreError> {
        let mut found = HashMap::with_capacity(users.len());
        let mut missing = Vec::new();
        for &user in users {
            match self.key_cache.users.get(user.as_str()) {
                Some(keys) => {
                    found.insert(user.to_owned(), keys);
                }
                None => missing.push(user),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let mark = self.key_cache.mark();
        let mut loaded = self.load_keys(&missing).await?;
        for user in missing {
            let keys = Arc::new(loaded.remove(user.as_str()).unwrap_or_default());
            self.key_cache.remember(user, &keys, mark);
            found.insert(user.to_owned(), keys);
        }
        Ok(found)
    }

    /// A local user's list of devices, and the position of its newest change, if there was any. The keys may be newer than that, never
    /// older: a commit is in the database a moment before entries of the cache are dropped for it, so only what is told is looked at.
    ///
    /// # Errors
    /// As [`Store::keys_of`].
    pub async fn device_list(
        &self,
        user: &UserId,
    ) -> Result<(Option<i64>, Arc<UserKeys>), StoreError> {
        let told = self.heads().head();
        let newest = self.device_changes_before(&[user], told).await?;
        let keys = self.keys_of(&[user]).await?.remove(user);
        Ok((newest.get(user).copied(), keys.unwrap_or_default()))
    }

    async fn load_keys(&self, users: &[&UserId]) -> Result<HashMap<String, UserKeys>, StoreError> {
        let ids = || users.iter().map(|user| user.as_str());
        let mut loaded: HashMap<String, UserKeys> = HashMap::new();
        let devices = device_keys::Entity::find()
            .filter(device_keys::Column::UserId.is_in(ids()))
            .all(self.reader())
            .await?;
        for row in devices {
            let keys = raw(row.content, "device_keys")?;
            let user = loaded.entry(row.user_id).or_default();
            user.devices.insert(row.device_id.into(), keys);
        }
        let cross_signing = cross_signing_keys::Entity::find()
            .filter(cross_signing_keys::Column::UserId.is_in(ids()))
            .all(self.reader())
            .await?;
        for row in cross_signing {
            let key = CrossSigningKey {
                public_key: row.public_key,
                content: raw(row.content, "cross_signing_keys")?,
            };
            let user = loaded.entry(row.user_id).or_default();
            user.cross_signing
                .insert(KeyUsage::from_number(row.usage)?, key);
        }
        Ok(loaded)
    }
}

fn raw(json: String, table: &'static str) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(json).map_err(|_| StoreError::corrupt(table, "content"))
}

#[cfg(test)]
mod tests {
    use ruma::user_id;
    use sea_orm::{ActiveValue::Set, Database};

    use super::*;
    use crate::store::{Scope, entity::log, testing};

    #[tokio::test]
    async fn a_list_is_never_older_than_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open_in(folder.path()).await;
        let ann = user_id!("@ann:here.org");
        let (newest, keys) = store.device_list(ann).await.unwrap();
        assert_eq!((newest, keys.devices.len()), (None, 0));
        // A commit that is in the database already, while nobody was told of it.
        let position = store.heads().head() + 1;
        let url = testing::options_in(folder.path()).url;
        let writer = Database::connect(url).await.unwrap();
        let row = log::ActiveModel {
            position: Set(position),
            scope: Set(Scope::Keys(ann).to_string()),
            kind: Set(LogKind::DeviceList as i16),
            reference: Set(Some("A".to_owned())),
        };
        let keys = device_keys::ActiveModel {
            user_id: Set(ann.to_string()),
            device_id: Set("A".to_owned()),
            content: Set("{}".to_owned()),
        };
        log::Entity::insert(row)
            .exec_without_returning(&writer)
            .await
            .unwrap();
        device_keys::Entity::insert(keys)
            .exec_without_returning(&writer)
            .await
            .unwrap();
        writer.close().await.unwrap();
        let (newest, keys) = store.device_list(ann).await.unwrap();
        assert_eq!((newest, keys.devices.len()), (None, 0));
        // The control: after a restart both are there.
        drop(store);
        let store = testing::open_in(folder.path()).await;
        let (newest, keys) = store.device_list(ann).await.unwrap();
        assert_eq!((newest, keys.devices.len()), (Some(position), 1));
    }
}
