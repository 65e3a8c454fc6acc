//! Our own cross-signing keys: making them, uploading them, taking them over from another device of ours.
//!
//! Invariant: the private keys leave this module only into the store's encrypted records, and to where the user keeps secrets; what is made
//! is our pinned, verified identity at once, also before the server has it. What is taken over must be the private half of the identity
//! that is pinned. Spec: <https://spec.matrix.org/v1.19/client-server-api/#cross-signing>

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
    machine::{OlmMachine, SINGLE},
    requests::CrossSigningUpload,
    secrets::SecretName,
    signing::{into_raw, sign},
    users::Identity,
};

/// The three private keys; a device that took them over may lack some.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct PrivateKeys {
    pub(super) master: Option<Ed25519SecretKey>,
    pub(super) self_signing: Option<Ed25519SecretKey>,
    pub(super) user_signing: Option<Ed25519SecretKey>,
    /// Whether the server has the public ones.
    pub(super) published: bool,
}

impl PrivateKeys {
    fn new() -> Self {
        Self {
            master: Some(Ed25519SecretKey::new()),
            self_signing: Some(Ed25519SecretKey::new()),
            user_signing: Some(Ed25519SecretKey::new()),
            published: false,
        }
    }

    fn is_complete(&self) -> bool {
        self.master.is_some() && self.self_signing.is_some() && self.user_signing.is_some()
    }

    pub(super) fn get(&self, name: SecretName) -> Option<&Ed25519SecretKey> {
        match name {
            SecretName::Master => self.master.as_ref(),
            SecretName::SelfSigning => self.self_signing.as_ref(),
            SecretName::UserSigning => self.user_signing.as_ref(),
            SecretName::Backup => None,
        }
    }
}

/// A public key as it is uploaded, signed by the master key unless it is that itself.
fn public(
    user_id: &UserId,
    usage: &str,
    key: &Ed25519SecretKey,
    master: &Ed25519SecretKey,
) -> Result<JsonObject, CryptoError> {
    let public = key.public_key().to_base64();
    let mut content = object(json!({
        "user_id": user_id,
        "usage": [usage],
        "keys": { format!("ed25519:{public}"): public },
    }))?;
    if usage != "master" {
        let name = master.public_key().to_base64();
        sign(&mut content, user_id, &name, |bytes| master.sign(bytes))?;
    }
    Ok(content)
}

impl OlmMachine {
    /// Makes cross-signing keys for our user, if there are none yet, and signs this device with them. Upload what is returned, then
    /// call [`cross_signing_uploaded`](Self::cross_signing_uploaded). Calling it again returns the same keys.
    ///
    /// # Errors
    /// [`CryptoError::IdentityExists`] if the user has an identity that this device does not hold the keys of: verify this device with
    /// another one, or open the secret storage, or [`reset_cross_signing`](Self::reset_cross_signing).
    pub fn create_cross_signing(&mut self) -> Result<Staged<CrossSigningUpload>, CryptoError> {
        let keys = match self.cross_signing.take() {
            Some(keys) if keys.is_complete() => keys,
            held => {
                let own = self.users.get(&self.user_id);
                let exists = own.is_some_and(|own| own.identity.is_some() || own.has_changes());
                self.cross_signing = held;
                if exists {
                    return Err(CryptoError::IdentityExists);
                }
                PrivateKeys::new()
            }
        };
        self.adopt(keys)
    }

    /// Makes new cross-signing keys in place of whatever there was. Everyone who knew the old identity is warned, and our other devices
    /// must be signed anew.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn reset_cross_signing(&mut self) -> Result<Staged<CrossSigningUpload>, CryptoError> {
        self.adopt(PrivateKeys::new())
    }

    fn adopt(&mut self, keys: PrivateKeys) -> Result<Staged<CrossSigningUpload>, CryptoError> {
        let (Some(master), Some(self_signing), Some(user_signing)) =
            (&keys.master, &keys.self_signing, &keys.user_signing)
        else {
            return Err(CryptoError::NoCrossSigningKeys);
        };
        let user_id = self.user_id.clone();
        let name = self_signing.public_key().to_base64();
        let signature = self.account.sign_device(self_signing)?;
        self.account.cross_signature = Some((name.clone(), signature));

        let mut master_key = public(&user_id, "master", master, master)?;
        sign(
            &mut master_key,
            &user_id,
            self.device_id.as_str(),
            |bytes| self.account.account.sign(bytes),
        )?;
        let mut signing_keys = upload_signing_keys::v3::Request::new();
        signing_keys.master_key = Some(into_raw(master_key)?);
        let part = public(&user_id, "self_signing", self_signing, master)?;
        signing_keys.self_signing_key = Some(into_raw(part)?);
        let part = public(&user_id, "user_signing", user_signing, master)?;
        signing_keys.user_signing_key = Some(into_raw(part)?);
        let mut signed = upload_signatures::v3::SignedKeys::new();
        signed.add_device_keys(
            self.device_id.clone(),
            into_raw(self.account.device_keys()?)?,
        );
        let signatures = upload_signatures::v3::Request::new([(user_id.clone(), signed)].into());

        let identity = Identity {
            master: master.public_key().to_base64(),
            self_signing: Some(name),
            user_signing: Some(user_signing.public_key().to_base64()),
            verified: true,
        };
        self.be(identity)?;
        self.pending.put(Table::CrossSigning, SINGLE, &keys)?;
        self.cross_signing = Some(keys);
        self.save_account()?;
        Ok(self.stage(CrossSigningUpload {
            signing_keys,
            signatures,
        }))
    }

    /// Takes an identity for ours, and verified.
    fn be(&mut self, identity: Identity) -> Result<(), CryptoError> {
        let user_id = self.user_id.clone();
        let own = self.users.entry(user_id.clone()).or_default();
        let another = own
            .identity
            .as_ref()
            .is_some_and(|known| known.master != identity.master);
        if another {
            // What the old identity signed says nothing any more.
            for device in own.devices.values_mut().chain(own.vanished.values_mut()) {
                device.cross_signed = false;
            }
        }
        own.identity = Some(identity);
        own.changed_identity = None;
        self.save_user(&user_id)
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

    /// Whether this device holds all private cross-signing keys.
    pub fn has_cross_signing_keys(&self) -> bool {
        self.cross_signing
            .as_ref()
            .is_some_and(PrivateKeys::is_complete)
    }

    /// Whether they are at the server too.
    pub fn is_cross_signing_published(&self) -> bool {
        let keys = self.cross_signing.as_ref();
        keys.is_some_and(|keys| keys.is_complete() && keys.published)
    }

    /// Whether this device is signed by our identity, and that identity is one that we are sure of.
    pub fn is_cross_signed(&self) -> bool {
        let own = self.users.get(&self.user_id);
        let identity = own.and_then(|own| own.identity.as_ref());
        let signed_by = self.account.cross_signature.as_ref().map(|(key, _)| key);
        identity.is_some_and(|identity| {
            identity.verified
                && identity.self_signing.is_some()
                && identity.self_signing.as_ref() == signed_by
        })
    }

    /// Takes over a private key, if it is that of our pinned identity. Holding it proves that the identity is ours.
    pub(super) fn import_private_key(
        &mut self,
        name: SecretName,
        key: Ed25519SecretKey,
    ) -> Result<(), CryptoError> {
        let public = key.public_key().to_base64();
        let user_id = self.user_id.clone();
        let own = self.users.get_mut(&user_id);
        let identity = own.and_then(|own| own.identity.as_mut());
        let identity = identity.ok_or(CryptoError::UnknownUser)?;
        let expected = match name {
            SecretName::Master => Some(&identity.master),
            SecretName::SelfSigning => identity.self_signing.as_ref(),
            SecretName::UserSigning => identity.user_signing.as_ref(),
            SecretName::Backup => None,
        };
        if expected != Some(&public) {
            return Err(CryptoError::SecretMismatch);
        }
        let signs_devices = name == SecretName::SelfSigning;
        let keys = self.cross_signing.get_or_insert_default();
        keys.published = true;
        match name {
            SecretName::Master => {
                identity.verified = true;
                keys.master = Some(key);
            }
            SecretName::SelfSigning => keys.self_signing = Some(key),
            SecretName::UserSigning => keys.user_signing = Some(key),
            SecretName::Backup => {}
        }
        self.save_user(&user_id)?;
        self.pending
            .put(Table::CrossSigning, SINGLE, &self.cross_signing)?;
        if signs_devices {
            self.sign_this_device()?;
        }
        Ok(())
    }

    /// Signs this device with the self-signing key, and has the signature uploaded.
    fn sign_this_device(&mut self) -> Result<(), CryptoError> {
        let Some(key) = self
            .cross_signing
            .as_ref()
            .and_then(|keys| keys.self_signing.as_ref())
        else {
            return Ok(());
        };
        let name = key.public_key().to_base64();
        let signature = self.account.sign_device(key)?;
        self.account.cross_signature = Some((name, signature));
        self.save_account()?;
        let (device_id, keys) = (self.device_id.clone(), self.account.device_keys()?);
        let user_id = self.user_id.clone();
        self.queue_signature(&user_id, device_id.as_str(), keys)
    }

    /// Signs another device of ours, so that everyone who trusts our identity trusts it. Compare its fingerprint first: this also marks
    /// it as verified. The signature is among the [outgoing requests](Self::outgoing_requests).
    ///
    /// # Errors
    /// [`CryptoError::NoCrossSigningKeys`] if they are not here; otherwise as [`verify_device`](Self::verify_device).
    pub fn sign_own_device(
        &mut self,
        device_id: &DeviceId,
        fingerprint: &str,
    ) -> Result<Staged<()>, CryptoError> {
        let user_id = self.user_id.clone();
        let held = self
            .cross_signing
            .as_ref()
            .is_some_and(|keys| keys.self_signing.is_some());
        if !held {
            return Err(CryptoError::NoCrossSigningKeys);
        }
        let (changes, ()) = self
            .verify_device(&user_id, device_id, fingerprint)?
            .into_parts();
        self.pending.extend(changes);
        self.queue_device_signature(device_id)?;
        Ok(self.stage(()))
    }

    /// Signs another user's identity, so that all our devices trust it. Compare their master key first: this also marks it as verified.
    /// The signature is among the [outgoing requests](Self::outgoing_requests).
    ///
    /// # Errors
    /// [`CryptoError::NoCrossSigningKeys`] if they are not here; otherwise as [`verify_user`](Self::verify_user).
    pub fn sign_user(
        &mut self,
        user_id: &UserId,
        master_key: &str,
    ) -> Result<Staged<()>, CryptoError> {
        let held = self
            .cross_signing
            .as_ref()
            .is_some_and(|keys| keys.user_signing.is_some());
        if !held {
            return Err(CryptoError::NoCrossSigningKeys);
        }
        let (changes, ()) = self.verify_user(user_id, master_key)?.into_parts();
        self.pending.extend(changes);
        self.queue_identity_signature(user_id)?;
        Ok(self.stage(()))
    }
}
