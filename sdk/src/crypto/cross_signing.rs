//! Our own cross-signing keys: making them, uploading them, signing our devices with them.
//!
//! Invariant: the private keys leave this module only into the store's encrypted records; what is made is our pinned, verified identity
//! at once, also before the server has it. Spec: <https://spec.matrix.org/v1.19/client-server-api/#cross-signing>

use ruma::{
    DeviceId, UserId,
    api::client::keys::{upload_signatures, upload_signing_keys},
    serde::JsonObject,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vodozemac::Ed25519SecretKey;

use super::{
    account::object,
    changes::{Staged, Table},
    error::CryptoError,
    in_flight::InFlight,
    machine::{OlmMachine, SINGLE},
    requests::{CrossSigningUpload, OutgoingBody, OutgoingRequest},
    signing::{into_raw, sign},
    users::Identity,
};

/// The three private keys.
#[derive(Serialize, Deserialize)]
pub(super) struct PrivateKeys {
    master: Ed25519SecretKey,
    self_signing: Ed25519SecretKey,
    user_signing: Ed25519SecretKey,
    /// Whether the server has the public ones.
    pub(super) published: bool,
}

impl PrivateKeys {
    fn new() -> Self {
        Self {
            master: Ed25519SecretKey::new(),
            self_signing: Ed25519SecretKey::new(),
            user_signing: Ed25519SecretKey::new(),
            published: false,
        }
    }

    fn public(
        &self,
        user_id: &UserId,
        usage: &str,
        key: &Ed25519SecretKey,
    ) -> Result<JsonObject, CryptoError> {
        let public = key.public_key().to_base64();
        let mut content = object(json!({
            "user_id": user_id,
            "usage": [usage],
            "keys": { format!("ed25519:{public}"): public },
        }))?;
        if usage != "master" {
            let master = self.master.public_key().to_base64();
            sign(&mut content, user_id, &master, |bytes| {
                self.master.sign(bytes)
            })?;
        }
        Ok(content)
    }
}

impl OlmMachine {
    /// Makes cross-signing keys for our user, if this device has none yet, and signs this device with them. Upload what is returned, then
    /// call [`cross_signing_uploaded`](Self::cross_signing_uploaded). Calling it again returns the same keys.
    ///
    /// If the user already has keys on the server that this device does not hold, uploading new ones resets the user's identity: everyone
    /// who knew the old one is warned.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn create_cross_signing(&mut self) -> Result<Staged<CrossSigningUpload>, CryptoError> {
        let keys = self.cross_signing.take().unwrap_or_else(PrivateKeys::new);
        let user_id = self.user_id.clone();
        let self_signing = keys.self_signing.public_key().to_base64();
        let signature = self.account.sign_device(&keys.self_signing)?;
        self.account.cross_signature = Some((self_signing.clone(), signature));

        let mut master = keys.public(&user_id, "master", &keys.master)?;
        sign(&mut master, &user_id, self.device_id.as_str(), |bytes| {
            self.account.account.sign(bytes)
        })?;
        let mut signing_keys = upload_signing_keys::v3::Request::new();
        signing_keys.master_key = Some(into_raw(master)?);
        signing_keys.self_signing_key = Some(into_raw(keys.public(
            &user_id,
            "self_signing",
            &keys.self_signing,
        )?)?);
        signing_keys.user_signing_key = Some(into_raw(keys.public(
            &user_id,
            "user_signing",
            &keys.user_signing,
        )?)?);
        let mut signed = upload_signatures::v3::SignedKeys::new();
        signed.add_device_keys(
            self.device_id.clone(),
            into_raw(self.account.device_keys()?)?,
        );
        let signatures = upload_signatures::v3::Request::new([(user_id.clone(), signed)].into());

        let own = self.users.entry(user_id.clone()).or_default();
        let master = keys.master.public_key().to_base64();
        own.identity = Some(Identity {
            master,
            self_signing: Some(self_signing),
            verified: true,
        });
        own.changed_identity = None;
        self.save_user(&user_id)?;
        self.pending.put(Table::CrossSigning, SINGLE, &keys)?;
        self.cross_signing = Some(keys);
        self.save_account()?;
        Ok(self.stage(CrossSigningUpload {
            signing_keys,
            signatures,
        }))
    }

    /// Says that the server has taken the keys.
    ///
    /// # Errors
    /// [`CryptoError::NoCrossSigningKeys`] if there are none here.
    pub fn cross_signing_uploaded(&mut self) -> Result<Staged<()>, CryptoError> {
        let keys = self
            .cross_signing
            .as_mut()
            .ok_or(CryptoError::NoCrossSigningKeys)?;
        keys.published = true;
        self.pending.put(Table::CrossSigning, SINGLE, keys)?;
        Ok(self.stage(()))
    }

    /// Whether this device holds the private cross-signing keys.
    pub const fn has_cross_signing_keys(&self) -> bool {
        self.cross_signing.is_some()
    }

    /// Signs another device of ours, so that everyone who trusts our identity trusts it. Compare its fingerprint first: this also marks
    /// it as verified.
    ///
    /// # Errors
    /// [`CryptoError::NoCrossSigningKeys`] if they are not here; otherwise as [`verify_device`](Self::verify_device).
    pub fn sign_own_device(
        &mut self,
        device_id: &DeviceId,
        fingerprint: &str,
    ) -> Result<Staged<OutgoingRequest>, CryptoError> {
        let user_id = self.user_id.clone();
        if self.cross_signing.is_none() {
            return Err(CryptoError::NoCrossSigningKeys);
        }
        let (changes, ()) = self
            .verify_device(&user_id, device_id, fingerprint)?
            .into_parts();
        self.pending.extend(changes);
        let device = self
            .users
            .get(&user_id)
            .and_then(|user| user.devices.get(device_id));
        let device = device.ok_or(CryptoError::UnknownDevice)?;
        let keys = self
            .cross_signing
            .as_ref()
            .ok_or(CryptoError::NoCrossSigningKeys)?;
        let mut content = object(json!({
            "user_id": user_id,
            "device_id": device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                format!("ed25519:{device_id}"): device.ed25519,
                format!("curve25519:{device_id}"): device.curve25519,
            },
        }))?;
        let name = keys.self_signing.public_key().to_base64();
        sign(&mut content, &user_id, &name, |bytes| {
            keys.self_signing.sign(bytes)
        })?;
        let mut signed = upload_signatures::v3::SignedKeys::new();
        signed.add_device_keys(device_id.to_owned(), into_raw(content)?);
        let request = upload_signatures::v3::Request::new([(user_id, signed)].into());
        let request = self.start(
            InFlight::SignatureUpload,
            OutgoingBody::SignatureUpload(request),
        );
        Ok(self.stage(request))
    }
}
