//! Cross-signing keys and signatures over keys, as they are stored.
//!
//! Invariant: a cross-signing key never has the name of a device of its user. A signature is
//! attached only to the key object that it was verified against. Signatures over others' keys are
//! kept apart, because only their maker sees them.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#cross-signing>

use std::collections::HashMap;

use ruma::{DeviceId, OwnedUserId, UserId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter,
    sea_query::{Expr, OnConflict},
};

use super::{
    Change, KeyUsage, LogKind, Scope, Store, StoreError, Tx,
    entity::{cross_signing_keys, device_keys, devices, key_signatures},
};

/// A cross-signing key about to be stored.
#[derive(Clone, Debug)]
pub struct NewCrossSigningKey {
    /// What it is for.
    pub usage: KeyUsage,
    /// The public key, in unpadded base64.
    pub public_key: String,
    /// The key object, checked, as canonical JSON.
    pub content: String,
}

/// Replaces cross-signing keys of a user.
#[derive(Clone, Debug)]
pub struct SetCrossSigningKeys {
    /// Whose.
    pub user_id: OwnedUserId,
    /// The new keys, at most one a usage.
    pub keys: Vec<NewCrossSigningKey>,
}

/// Whether a cross-signing key of the user has this device's name.
pub(super) async fn is_named_like_key(
    tx: &Tx,
    user: &UserId,
    device: &DeviceId,
) -> Result<bool, StoreError> {
    let same = cross_signing_keys::Entity::find()
        .filter(cross_signing_keys::Column::UserId.eq(user.as_str()))
        .filter(cross_signing_keys::Column::PublicKey.eq(device.as_str()))
        .one(tx.connection())
        .await?;
    Ok(same.is_some())
}

impl Change for SetCrossSigningKeys {
    /// Whether they were stored: not if one has the name of a device.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        use cross_signing_keys::Column;
        let names = self.keys.iter().map(|key| key.public_key.as_str());
        let namesake = devices::Entity::find()
            .filter(devices::Column::UserId.eq(self.user_id.as_str()))
            .filter(devices::Column::DeviceId.is_in(names))
            .one(tx.connection())
            .await?;
        if namesake.is_some() {
            return Ok(false);
        }
        for key in &self.keys {
            let row = cross_signing_keys::ActiveModel {
                user_id: Set(self.user_id.to_string()),
                usage: Set(key.usage as i16),
                public_key: Set(key.public_key.clone()),
                content: Set(key.content.clone()),
            };
            cross_signing_keys::Entity::insert(row)
                .on_conflict(
                    OnConflict::columns([Column::UserId, Column::Usage])
                        .update_columns([Column::PublicKey, Column::Content])
                        .to_owned(),
                )
                .exec_without_returning(tx.connection())
                .await?;
        }
        tx.append(Scope::Keys(&self.user_id), LogKind::DeviceList, None);
        Ok(true)
    }
}

/// A key object of the signer's own that has gained signatures.
#[derive(Clone, Debug)]
pub enum SignedObject {
    /// Keys of one of the devices.
    Device {
        /// Which.
        device_id: ruma::OwnedDeviceId,
        /// The object that the signatures were verified against.
        before: String,
        /// The object with them.
        after: String,
    },
    /// The master key.
    Master {
        /// The object that the signatures were verified against.
        before: String,
        /// The object with them.
        after: String,
    },
}

/// A signature over somebody else's master key.
#[derive(Clone, Debug)]
pub struct ForeignSignature {
    /// Whose key.
    pub target_user: OwnedUserId,
    /// The public key that was signed.
    pub target_key: String,
    /// With which key.
    pub key_id: String,
    /// The signature, in unpadded base64.
    pub signature: String,
}

/// Attaches verified signatures.
#[derive(Clone, Debug)]
pub struct AddSignatures {
    /// Who signed.
    pub signer: OwnedUserId,
    /// The signer's own keys, signed.
    pub own: Vec<SignedObject>,
    /// Signatures over others' keys.
    pub foreign: Vec<ForeignSignature>,
}

impl Change for AddSignatures {
    /// Whether all were attached; one whose object has changed meanwhile is not.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let mut complete = true;
        let mut changed = Vec::new();
        for object in &self.own {
            let (updated, reference) = self.attach(tx, object).await?;
            complete &= updated;
            if updated {
                changed.push(reference);
            }
        }
        for signature in &self.foreign {
            self.keep(tx, signature).await?;
        }
        if !self.foreign.is_empty() {
            changed.push(None);
        }
        for reference in changed {
            tx.append(Scope::Keys(&self.signer), LogKind::DeviceList, reference);
        }
        Ok(complete)
    }
}

impl AddSignatures {
    async fn attach(
        &self,
        tx: &Tx,
        object: &SignedObject,
    ) -> Result<(bool, Option<String>), StoreError> {
        let (updated, reference) = match object {
            SignedObject::Device {
                device_id,
                before,
                after,
            } => {
                use device_keys::Column;
                let updated = device_keys::Entity::update_many()
                    .col_expr(Column::Content, Expr::value(after.as_str()))
                    .filter(Column::UserId.eq(self.signer.as_str()))
                    .filter(Column::DeviceId.eq(device_id.as_str()))
                    .filter(Column::Content.eq(before.as_str()))
                    .exec(tx.connection())
                    .await?;
                (updated, Some(device_id.to_string()))
            }
            SignedObject::Master { before, after } => {
                use cross_signing_keys::Column;
                let updated = cross_signing_keys::Entity::update_many()
                    .col_expr(Column::Content, Expr::value(after.as_str()))
                    .filter(Column::UserId.eq(self.signer.as_str()))
                    .filter(Column::Usage.eq(KeyUsage::Master as i16))
                    .filter(Column::Content.eq(before.as_str()))
                    .exec(tx.connection())
                    .await?;
                (updated, None)
            }
        };
        Ok((updated.rows_affected == 1, reference))
    }

    async fn keep(&self, tx: &Tx, signature: &ForeignSignature) -> Result<(), StoreError> {
        use key_signatures::Column;
        let row = key_signatures::ActiveModel {
            signer: Set(self.signer.to_string()),
            target_user: Set(signature.target_user.to_string()),
            target_key: Set(signature.target_key.clone()),
            key_id: Set(signature.key_id.clone()),
            signature: Set(signature.signature.clone()),
        };
        key_signatures::Entity::insert(row)
            .on_conflict(
                OnConflict::columns([
                    Column::Signer,
                    Column::TargetUser,
                    Column::TargetKey,
                    Column::KeyId,
                ])
                .update_column(Column::Signature)
                .to_owned(),
            )
            .exec_without_returning(tx.connection())
            .await?;
        Ok(())
    }
}

impl Store {
    /// The signatures that a user has made over other users' master keys, by signed public key.
    ///
    /// # Errors
    /// What the database says.
    pub async fn signatures_by(
        &self,
        signer: &UserId,
    ) -> Result<HashMap<String, Vec<ForeignSignature>>, StoreError> {
        let rows = key_signatures::Entity::find()
            .filter(key_signatures::Column::Signer.eq(signer.as_str()))
            .all(self.reader())
            .await?;
        let mut by_key: HashMap<String, Vec<ForeignSignature>> = HashMap::new();
        for row in rows {
            let target_user = UserId::parse(row.target_user)
                .map_err(|_| StoreError::corrupt("key_signatures", "target_user"))?;
            by_key
                .entry(row.target_key.clone())
                .or_default()
                .push(ForeignSignature {
                    target_user,
                    target_key: row.target_key,
                    key_id: row.key_id,
                    signature: row.signature,
                });
        }
        Ok(by_key)
    }
}
