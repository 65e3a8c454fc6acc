//! Dehydrated devices: one that waits on the server without a client, receives room keys, and is woken by the user's next client.
//!
//! Invariant: nothing but room keys is taken from what such a device received, each after the checks of any Olm message, and no key of
//! expiring messages: whoever wakes it later must not read what is over. It is signed by our identity or not made at all. Its private
//! keys leave this device only encrypted with a key that lies in secret storage.
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use std::{collections::BTreeMap, fmt};

use ruma::{
    DeviceId, OwnedDeviceId, OwnedUserId,
    api::client::dehydrated_device::{
        DehydratedDeviceData, DehydratedDeviceV2, put_dehydrated_device::unstable as put,
    },
    events::AnyToDeviceEvent,
    serde::{JsonObject, Raw},
};
use serde::Deserialize;
use vodozemac::{base64_decode, base64_encode, olm::Account};
use zeroize::Zeroizing;

use super::{
    account::AccountState,
    changes::Staged,
    error::CryptoError,
    machine::OlmMachine,
    olm::PeerSessions,
    outcome::{Notice, RoomKeyRefusal, SyncOutcome, ToDeviceRefusal},
    secret::{SecretBytes, wipe},
    signing::into_raw,
    to_device::OlmEvent,
};
use crate::{clock::Rng, expiry::EXPIRY_FIELD};

/// The name under which secret storage keeps the key, as long as the proposal is one.
pub const DEHYDRATION_KEY_SECRET: &str = "org.matrix.msc3814";

/// What others see of it, if they see names of devices at all.
const DISPLAY_NAME: &str = "Dehydrated device";

/// Bytes of the key that encrypts a dehydrated device.
const KEY_BYTES: usize = 32;

/// What encrypts a dehydrated device; wiped when dropped.
pub struct DehydrationKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for DehydrationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DehydrationKey")
    }
}

impl DehydrationKey {
    /// A new one.
    pub fn random(rng: &dyn Rng) -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rng.fill(key.as_mut_slice());
        Self(key)
    }

    /// As it is kept in secret storage: unpadded base64.
    pub fn to_secret(&self) -> SecretBytes {
        SecretBytes::new(base64_encode(self.0.as_slice()).into_bytes())
    }

    /// From what secret storage holds.
    ///
    /// # Errors
    /// [`CryptoError::Key`] if it is no such key.
    pub fn from_secret(secret: &SecretBytes) -> Result<Self, CryptoError> {
        let text = std::str::from_utf8(secret.expose()).map_err(|_| CryptoError::Key)?;
        let bytes = base64_decode(text.trim().trim_end_matches('='));
        let bytes = Zeroizing::new(bytes.map_err(|_| CryptoError::Key)?);
        if bytes.len() != KEY_BYTES {
            return Err(CryptoError::Key);
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        key.copy_from_slice(&bytes);
        Ok(Self(key))
    }
}

/// A dehydrated device that was woken, to read what it received. Nothing of it is stored.
pub struct RehydratedDevice {
    account: AccountState,
    olm: BTreeMap<String, PeerSessions>,
}

impl fmt::Debug for RehydratedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RehydratedDevice")
    }
}

impl RehydratedDevice {
    /// Its id.
    pub fn device_id(&self) -> &DeviceId {
        &self.account.device_id
    }
}

#[derive(Deserialize)]
struct Received {
    #[serde(rename = "type")]
    event_type: String,
    sender: OwnedUserId,
    content: JsonObject,
}

impl OlmMachine {
    /// Makes a device to be dehydrated, signed by our identity: send the request. The device that the server had is replaced.
    ///
    /// # Errors
    /// [`CryptoError::NoCrossSigningKeys`] if the key that signs devices is not here.
    pub fn dehydrate_device(
        &self,
        key: &DehydrationKey,
        now_ms: u64,
    ) -> Result<put::Request, CryptoError> {
        let keys = self.cross_signing.as_ref();
        let self_signing = keys.and_then(|keys| keys.self_signing.as_ref());
        let self_signing = self_signing.ok_or(CryptoError::NoCrossSigningKeys)?;
        let mut state = AccountState::new(&self.user_id, "".into(), now_ms);
        // "The client MUST use the public Curve25519 identity key of the device, encoded as unpadded Base64, as the device ID."
        state.device_id = OwnedDeviceId::from(state.curve25519());
        state.dehydrated = true;
        let signature = state.sign_device(self_signing)?;
        state.cross_signature = Some((self_signing.public_key().to_base64(), signature));
        let pickle = state.account.to_dehydrated_device(&key.0);
        let pickle = pickle.map_err(|_| CryptoError::Key)?;
        let data = DehydratedDeviceV2::new(pickle.ciphertext, pickle.nonce);
        let data = Raw::new(&DehydratedDeviceData::V2(data)).map_err(|_| CryptoError::Key)?;
        let device_keys = into_raw(state.device_keys()?)?;
        let mut request = put::Request::new(state.device_id.clone(), data, device_keys);
        request.initial_device_display_name = Some(DISPLAY_NAME.to_owned());
        if let Some(upload) = state.upload()? {
            request.one_time_keys = upload.one_time_keys;
            request.fallback_keys = upload.fallback_keys;
        }
        Ok(request)
    }

    /// Wakes a device that the server has.
    ///
    /// # Errors
    /// [`CryptoError::Key`] if the key does not open it, it is of another form, or not the device of that id.
    pub fn rehydrate_device(
        &self,
        key: &DehydrationKey,
        device_id: &DeviceId,
        data: &Raw<DehydratedDeviceData>,
    ) -> Result<RehydratedDevice, CryptoError> {
        let Ok(DehydratedDeviceData::V2(data)) = data.deserialize() else {
            return Err(CryptoError::Key);
        };
        let account = Account::from_dehydrated_device(&data.device_pickle, &data.nonce, &key.0);
        let mut state = AccountState::new(&self.user_id, device_id, 0);
        state.account = account.map_err(|_| CryptoError::Key)?;
        if state.curve25519() != device_id.as_str() {
            return Err(CryptoError::Key);
        }
        Ok(RehydratedDevice {
            account: state,
            olm: BTreeMap::new(),
        })
    }

    /// Takes the room keys out of what a woken device received; the outcome has the sessions whose keys arrived. What is not a room
    /// key over Olm is passed over.
    ///
    /// # Errors
    /// [`CryptoError`] only if the machine itself fails; whatever is wrong with an event is a notice.
    pub fn receive_dehydrated_events(
        &mut self,
        device: &mut RehydratedDevice,
        events: &[Raw<AnyToDeviceEvent>],
        now_ms: u64,
    ) -> Result<Staged<SyncOutcome>, CryptoError> {
        let mut outcome = SyncOutcome::default();
        for event in events {
            let event = serde_json::from_str::<Received>(event.json().get()).ok();
            let Some(event) = event.filter(|event| event.event_type == "m.room.encrypted") else {
                continue;
            };
            match self.decrypt_as(device, &event, now_ms)? {
                Ok(mut decrypted) => {
                    self.take_dehydrated_key(&decrypted, now_ms, &mut outcome)?;
                    decrypted.content.values_mut().for_each(wipe);
                }
                Err(reason) => outcome.notices.push(Notice::ToDeviceDiscarded {
                    sender: event.sender,
                    reason,
                }),
            }
        }
        Ok(self.stage(outcome))
    }

    fn take_dehydrated_key(
        &mut self,
        event: &OlmEvent,
        now_ms: u64,
        outcome: &mut SyncOutcome,
    ) -> Result<(), CryptoError> {
        if event.event_type != "m.room_key" {
            return Ok(());
        }
        if event.content.contains_key(EXPIRY_FIELD) {
            outcome.notices.push(Notice::RoomKeyRefused {
                sender: event.sender.clone(),
                reason: RoomKeyRefusal::Dead,
            });
            return Ok(());
        }
        self.receive_room_key(event, now_ms, outcome)
    }

    /// Decrypts as another device of ours. What that changes of the device is its own and never written.
    fn decrypt_as(
        &mut self,
        device: &mut RehydratedDevice,
        event: &Received,
        now_ms: u64,
    ) -> Result<Result<OlmEvent, ToDeviceRefusal>, CryptoError> {
        let pending = std::mem::take(&mut self.pending);
        let wedged = std::mem::take(&mut self.wedged);
        std::mem::swap(&mut self.account, &mut device.account);
        std::mem::swap(&mut self.olm, &mut device.olm);
        let decrypted = self.decrypt_to_device(&event.sender, &event.content, now_ms);
        std::mem::swap(&mut self.account, &mut device.account);
        std::mem::swap(&mut self.olm, &mut device.olm);
        self.wedged = wedged;
        self.pending = pending;
        decrypted
    }
}
