//! Uploading the keys of a device.
//!
//! Invariant: an upload is stored as a whole or not at all.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload>

use std::sync::Arc;

use ruma::{CanonicalJsonObject, DeviceId, UserId};
use serde_json::value::RawValue;

use super::{Keys, KeysError, check};
use crate::store::{KeyCounts, NewKey, UploadKeys};

/// How many keys one request may bring.
const KEYS_MAX: usize = 500;

/// What a device uploads.
#[derive(Clone, Debug, Default)]
pub struct Upload<'a> {
    /// Its identity keys.
    pub device_keys: Option<&'a RawValue>,
    /// One-time keys by key id.
    pub one_time_keys: Vec<(&'a str, &'a RawValue)>,
    /// Fallback keys by key id.
    pub fallback_keys: Vec<(&'a str, &'a RawValue)>,
}

impl Upload<'_> {
    /// The change that stores it, its one-time and fallback keys checked.
    pub(super) fn to_change(
        &self,
        user: &UserId,
        device: &DeviceId,
        device_keys: Option<String>,
    ) -> Result<UploadKeys, KeysError> {
        let fallback_keys = check_all(&self.fallback_keys)?;
        let mut algorithms: Vec<&str> = fallback_keys.iter().map(|key| &*key.algorithm).collect();
        algorithms.sort_unstable();
        algorithms.dedup();
        if algorithms.len() != fallback_keys.len() {
            return Err(KeysError::Malformed("two fallback keys of one algorithm"));
        }
        Ok(UploadKeys {
            user_id: user.to_owned(),
            device_id: device.to_owned(),
            device_keys,
            one_time_keys: check_all(&self.one_time_keys)?,
            fallback_keys,
        })
    }
}

impl Keys {
    /// Stores what a device uploads, and answers what it has left to give out.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn upload(
        &self,
        user: &UserId,
        device: &DeviceId,
        upload: Upload<'_>,
    ) -> Result<Arc<KeyCounts>, KeysError> {
        let device_keys = match upload.device_keys {
            Some(json) => {
                let object = check::device_keys(json, user, device)?;
                let object = self.keep_signatures(user, device, object).await?;
                Some(check::to_json(&object)?)
            }
            None => None,
        };
        let change = upload.to_change(user, device, device_keys)?;
        let is_empty = change.device_keys.is_none()
            && change.one_time_keys.is_empty()
            && change.fallback_keys.is_empty();
        if !is_empty {
            KeysError::from_upload(self.store.upload_keys(change).await?)?;
        }
        Ok(self.store.key_counts(user, device).await?)
    }

    /// Keeps the cross-signing signatures of keys that are uploaded again unchanged.
    async fn keep_signatures(
        &self,
        user: &UserId,
        device: &DeviceId,
        mut object: CanonicalJsonObject,
    ) -> Result<CanonicalJsonObject, KeysError> {
        let all = self.store.keys_of(&[user]).await?;
        let Some(stored) = all.get(user).and_then(|keys| keys.devices.get(device)) else {
            return Ok(object);
        };
        let stored = check::object(stored)?;
        if check::signed_part(&stored)? == check::signed_part(&object)? {
            for (key_id, signature) in check::signatures_of(&stored, user) {
                if !check::signatures_of(&object, user).any(|(id, _)| id == key_id) {
                    check::add_signature(&mut object, user, key_id, signature);
                }
            }
        }
        Ok(object)
    }
}

fn check_all(keys: &[(&str, &RawValue)]) -> Result<Vec<NewKey>, KeysError> {
    if keys.len() > KEYS_MAX {
        return Err(KeysError::TooMany);
    }
    keys.iter()
        .map(|(key_id, json)| check::one_time_key(key_id, json))
        .collect()
}
