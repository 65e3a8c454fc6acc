//! Dehydrated devices: keys and messages of a device that no client runs, until its user wakes it.
//!
//! Invariant: a user has at most one, which takes the place of the one before in the same transaction; it is never one that a client
//! has logged in with. Its messages stay until it goes.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use ruma::{OwnedDeviceId, UserId};
use sea_orm::{ActiveValue::Set, EntityTrait};
use serde_json::value::RawValue;

use super::{
    Change, KeyUpload, Store, StoreError, Tx, UploadKeys,
    cross_signing::is_named_like_key,
    devices,
    entity::{dehydrated_devices, devices as device_rows},
};

/// A dehydrated device.
#[derive(Clone, Debug)]
pub struct DehydratedDevice {
    /// Its id.
    pub device_id: OwnedDeviceId,
    /// What its user needs to wake it.
    pub data: Box<RawValue>,
}

impl Store {
    /// The dehydrated device of a user.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for data that are no JSON.
    pub async fn dehydrated_device(
        &self,
        user: &UserId,
    ) -> Result<Option<DehydratedDevice>, StoreError> {
        let row = dehydrated_devices::Entity::find_by_id(user.to_string())
            .one(self.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let data = RawValue::from_string(row.content)
            .map_err(|_| StoreError::corrupt("dehydrated_devices", "content"))?;
        Ok(Some(DehydratedDevice {
            device_id: row.device_id.into(),
            data,
        }))
    }
}

/// Stores a dehydrated device in place of the one that there was.
#[derive(Clone, Debug)]
pub struct PutDehydratedDevice {
    /// Its keys, and whose and which it is.
    pub keys: UploadKeys,
    /// What the user calls it.
    pub display_name: Option<String>,
    /// What its user needs to wake it, as JSON.
    pub data: String,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// What became of a dehydrated device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dehydration {
    /// It is stored.
    Stored,
    /// A client has logged in with a device of that id.
    Taken,
    /// Its keys are refused.
    Refused(KeyUpload),
}

impl Change for PutDehydratedDevice {
    type Output = Dehydration;

    async fn apply(&self, tx: &mut Tx) -> Result<Dehydration, StoreError> {
        let (user, device) = (&self.keys.user_id, &self.keys.device_id);
        // All that could be refused comes before the first write: a refusal undoes nothing.
        if is_named_like_key(tx, user, device).await? {
            return Ok(Dehydration::Refused(KeyUpload::NamedLikeKey));
        }
        let before = dehydrated_devices::Entity::find_by_id(user.to_string())
            .one(tx.connection())
            .await?
            .map(|row| OwnedDeviceId::from(row.device_id));
        let of_id = device_rows::Entity::find_by_id((user.to_string(), device.to_string()))
            .one(tx.connection())
            .await?;
        if of_id.is_some() && before.as_ref() != Some(device) {
            return Ok(Dehydration::Taken);
        }
        devices::forget(tx, user, before.as_slice()).await?;
        let row = device_rows::ActiveModel {
            user_id: Set(user.to_string()),
            device_id: Set(device.to_string()),
            display_name: Set(self.display_name.clone()),
            created_ms: Set(self.now_ms),
            seen_day: Set(super::day_of(self.now_ms)),
        };
        device_rows::Entity::insert(row)
            .exec_without_returning(tx.connection())
            .await?;
        let row = dehydrated_devices::ActiveModel {
            user_id: Set(user.to_string()),
            device_id: Set(device.to_string()),
            content: Set(self.data.clone()),
        };
        dehydrated_devices::Entity::insert(row)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(match self.keys.apply(tx).await? {
            KeyUpload::Stored => Dehydration::Stored,
            refused => Dehydration::Refused(refused),
        })
    }
}
