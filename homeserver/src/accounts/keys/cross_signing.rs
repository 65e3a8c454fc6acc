//! Uploading cross-signing keys.
//!
//! Invariant: the self-signing and user-signing keys are signed by the master key that they are
//! stored with; no key has the name of a device, nor that of another.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload>

use std::collections::BTreeSet;

use ruma::UserId;
use serde_json::value::RawValue;

use super::{
    Keys, KeysError,
    check::{self, CheckedKey},
};
use crate::store::{KeyUsage, NewCrossSigningKey, SetCrossSigningKeys, StoreError, UserKeys};

/// What a client uploads, as sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SigningKeysUpload<'a> {
    /// The master key.
    pub master: Option<&'a RawValue>,
    /// The self-signing key.
    pub self_signing: Option<&'a RawValue>,
    /// The user-signing key.
    pub user_signing: Option<&'a RawValue>,
}

impl Keys {
    /// Whether an upload needs no further proof of who sends it: there is no master key yet, or it
    /// brings nothing new.
    ///
    /// # Errors
    /// [`KeysError`], as the upload itself would.
    pub async fn is_first_or_same(
        &self,
        user: &UserId,
        upload: SigningKeysUpload<'_>,
    ) -> Result<bool, KeysError> {
        let (stored, keys) = self.checked(user, upload).await?;
        Ok(!stored.cross_signing.contains_key(&KeyUsage::Master) || is_same(&stored, &keys))
    }

    /// Stores cross-signing keys.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn upload_signing_keys(
        &self,
        user: &UserId,
        upload: SigningKeysUpload<'_>,
    ) -> Result<(), KeysError> {
        let (stored, keys) = self.checked(user, upload).await?;
        if keys.is_empty() && !stored.cross_signing.contains_key(&KeyUsage::Master) {
            return Err(KeysError::NoMasterKey);
        }
        if is_same(&stored, &keys) {
            return Ok(());
        }
        let keys = keys.into_iter().map(|key| {
            Ok(NewCrossSigningKey {
                usage: key.usage,
                content: check::to_json(&key.object)?,
                public_key: key.public_key,
            })
        });
        let change = SetCrossSigningKeys {
            user_id: user.to_owned(),
            keys: keys.collect::<Result<_, KeysError>>()?,
        };
        if self.store.commit(change).await?.output {
            Ok(())
        } else {
            Err(KeysError::SameName)
        }
    }

    /// The keys as they stand, and those uploaded, checked against each other.
    async fn checked(
        &self,
        user: &UserId,
        upload: SigningKeysUpload<'_>,
    ) -> Result<(std::sync::Arc<UserKeys>, Vec<CheckedKey>), KeysError> {
        let sent = [
            (KeyUsage::Master, upload.master),
            (KeyUsage::SelfSigning, upload.self_signing),
            (KeyUsage::UserSigning, upload.user_signing),
        ];
        let mut keys = Vec::new();
        for (usage, json) in sent {
            if let Some(json) = json {
                keys.push(check::cross_signing_key(json, user, usage)?);
            }
        }
        let distinct: BTreeSet<&str> = keys.iter().map(|key| &*key.public_key).collect();
        if distinct.len() != keys.len() {
            return Err(KeysError::Malformed("one key is sent for two purposes"));
        }
        let stored = self.own_keys(user).await?;
        check_signatures(user, &stored, &keys)?;
        Ok((stored, keys))
    }

    pub(super) async fn own_keys(
        &self,
        user: &UserId,
    ) -> Result<std::sync::Arc<UserKeys>, StoreError> {
        let mut all = self.store.keys_of(&[user]).await?;
        Ok(all.remove(user).unwrap_or_default())
    }
}

/// The other two keys must be signed by the master key, the new one if there is one.
fn check_signatures(
    user: &UserId,
    stored: &UserKeys,
    keys: &[CheckedKey],
) -> Result<(), KeysError> {
    let sent = keys
        .iter()
        .find(|key| key.usage == KeyUsage::Master)
        .map(|key| &*key.public_key);
    let known = stored.cross_signing.get(&KeyUsage::Master);
    let master = sent.or(known.map(|key| &*key.public_key));
    for key in keys.iter().filter(|key| key.usage != KeyUsage::Master) {
        let master = master.ok_or(KeysError::NoMasterKey)?;
        let key_id = format!("ed25519:{master}");
        if !check::is_signed_by(&key.object, user, &key_id, master) {
            return Err(KeysError::InvalidSignature);
        }
    }
    Ok(())
}

/// Whether each of the keys is the one that is stored.
fn is_same(stored: &UserKeys, keys: &[CheckedKey]) -> bool {
    keys.iter().all(|key| {
        let known = stored.cross_signing.get(&key.usage);
        known.is_some_and(|known| known.public_key == key.public_key)
    })
}
