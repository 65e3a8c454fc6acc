//! Dehydrated devices: what a user's next client finds waiting.
//!
//! Invariant: what wakes the device is ciphertext that the server passes on as it came; the keys are checked as those of any device.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use ruma::{DeviceId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Keys, KeysError, Upload, check};
use crate::store::{DehydratedDevice, Dehydration, PutDehydratedDevice, StoreError};

/// What wakes a device may be so long, in bytes: a few hundred private keys.
const DATA_BYTES_MAX: usize = 64 * 1024;
/// The longest id of a device, in bytes.
const DEVICE_ID_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;

/// A device about to be dehydrated.
#[derive(Clone, Debug)]
pub struct NewDehydratedDevice<'a> {
    /// Its id.
    pub device_id: &'a DeviceId,
    /// What the user calls it.
    pub display_name: Option<String>,
    /// What wakes it: an object with an `algorithm`.
    pub data: &'a RawValue,
    /// Its keys.
    pub keys: Upload<'a>,
}

/// What every algorithm has in common.
#[derive(Deserialize)]
struct Data {
    #[serde(rename = "algorithm")]
    _algorithm: String,
}

impl Keys {
    /// Stores a dehydrated device in place of the one that the user had.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn dehydrate(
        &self,
        user: &UserId,
        device: NewDehydratedDevice<'_>,
        now_ms: i64,
    ) -> Result<(), KeysError> {
        let id = device.device_id;
        if id.as_str().is_empty() || id.as_str().len() > DEVICE_ID_BYTES_MAX {
            return Err(KeysError::Malformed("the device id is empty or too long"));
        }
        if device.data.get().len() > DATA_BYTES_MAX {
            return Err(KeysError::Malformed("`device_data` is too long"));
        }
        if serde_json::from_str::<Data>(device.data.get()).is_err() {
            return Err(KeysError::Malformed("`device_data` has no algorithm"));
        }
        let device_keys = device.keys.device_keys;
        let device_keys = device_keys.ok_or(KeysError::Malformed("there are no device keys"))?;
        let device_keys = check::to_json(&check::device_keys(device_keys, user, id)?)?;
        let change = PutDehydratedDevice {
            keys: device.keys.to_change(user, id, Some(device_keys))?,
            display_name: device.display_name,
            data: device.data.get().to_owned(),
            now_ms,
        };
        match self.store.commit(change).await?.output {
            Dehydration::Stored => Ok(()),
            Dehydration::Taken => Err(KeysError::DeviceExists),
            Dehydration::Refused(refused) => KeysError::from_upload(refused),
        }
    }

    /// The dehydrated device of a user.
    ///
    /// # Errors
    /// What the database says.
    pub async fn dehydrated(&self, user: &UserId) -> Result<Option<DehydratedDevice>, StoreError> {
        self.store.dehydrated_device(user).await
    }
}
