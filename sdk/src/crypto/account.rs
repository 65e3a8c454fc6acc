//! Our own device's keys: what is uploaded, and when.
//!
//! Invariant: new one-time keys are made only while no upload is in flight, so that the answer to an upload marks exactly the keys
//! that were in it; the private half of a replaced fallback key is forgotten an hour later, or when no message has come for a while after
//! that, but within a day in any case.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#one-time-and-fallback-keys>

use std::collections::BTreeMap;

use ruma::{
    DeviceId, OneTimeKeyAlgorithm, OneTimeKeyId, OwnedDeviceId, OwnedOneTimeKeyId, OwnedUserId,
    UInt, UserId,
    api::client::keys::upload_keys,
    encryption::OneTimeKey,
    serde::{JsonObject, Raw},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vodozemac::{Curve25519PublicKey, KeyId, olm::Account};

use super::{
    error::CryptoError,
    machine::OlmMachine,
    signing::{into_raw, sign, signed_bytes},
};

/// A fallback key is replaced at least so often, in milliseconds: a week.
pub(super) const FALLBACK_KEY_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// ...and, when a server says that it was used, at most so often, in milliseconds: an hour. vodozemac keeps the current one and the one
/// before; a server that made us go on faster would make us forget a key that messages are still under way for.
pub(super) const FALLBACK_KEY_MS_MIN: u64 = 60 * 60 * 1000;

/// A replaced fallback key is forgotten so long after its time even while messages keep coming, in milliseconds: a day.
pub(super) const FALLBACK_KEY_GRACE_MS: u64 = 24 * 60 * 60 * 1000;

/// Name of the signed Curve25519 one-time keys.
pub(super) const SIGNED_CURVE25519: &str = "signed_curve25519";

/// The device's account and what the server has of it.
#[derive(Serialize, Deserialize)]
pub(super) struct AccountState {
    pub(super) user_id: OwnedUserId,
    pub(super) device_id: OwnedDeviceId,
    #[serde(with = "super::pickle::account")]
    pub(super) account: Account,
    /// Whether the server has the device keys.
    pub(super) uploaded: bool,
    /// When the current fallback key was made.
    pub(super) fallback_made_ms: u64,
    /// When the fallback key before it is to be forgotten.
    pub(super) forget_fallback_ms: Option<u64>,
    /// The device keys' signature by our self-signing key: its public part and the signature.
    pub(super) cross_signature: Option<(String, String)>,
    /// Whether it is a dehydrated device's.
    #[serde(skip)]
    pub(super) dehydrated: bool,
}

impl AccountState {
    pub(super) fn new(user_id: &UserId, device_id: &DeviceId, now_ms: u64) -> Self {
        let mut account = Account::new();
        account.generate_one_time_keys(account.max_number_of_one_time_keys());
        account.generate_fallback_key();
        Self {
            user_id: user_id.to_owned(),
            device_id: device_id.to_owned(),
            account,
            uploaded: false,
            fallback_made_ms: now_ms,
            forget_fallback_ms: None,
            cross_signature: None,
            dehydrated: false,
        }
    }

    pub(super) fn ed25519(&self) -> String {
        self.account.ed25519_key().to_base64()
    }

    pub(super) fn curve25519(&self) -> String {
        self.account.curve25519_key().to_base64()
    }

    /// Our device keys, signed by the device and, where it is, by our self-signing key.
    pub(super) fn device_keys(&self) -> Result<JsonObject, CryptoError> {
        let (user_id, device_id) = (&self.user_id, &self.device_id);
        let mut keys = object(json!({
            "user_id": user_id,
            "device_id": device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                format!("ed25519:{device_id}"): self.ed25519(),
                format!("curve25519:{device_id}"): self.curve25519(),
            },
        }))?;
        if self.dehydrated {
            keys.insert("dehydrated".to_owned(), true.into());
        }
        sign(&mut keys, user_id, device_id.as_str(), |bytes| {
            self.account.sign(bytes)
        })?;
        if let Some((key, signature)) = &self.cross_signature
            && let Some(of_user) = keys
                .get_mut("signatures")
                .and_then(|signatures| signatures.get_mut(user_id.as_str()))
                .and_then(serde_json::Value::as_object_mut)
        {
            of_user.insert(format!("ed25519:{key}"), signature.as_str().into());
        }
        Ok(keys)
    }

    /// The signature of our device keys by our self-signing key.
    pub(super) fn sign_device(
        &self,
        self_signing: &vodozemac::Ed25519SecretKey,
    ) -> Result<String, CryptoError> {
        let bytes = signed_bytes(&self.device_keys()?).ok_or(CryptoError::Key)?;
        Ok(self_signing.sign(&bytes).to_base64())
    }

    fn signed_keys(
        &self,
        keys: impl IntoIterator<Item = (KeyId, Curve25519PublicKey)>,
        fallback: bool,
    ) -> Result<BTreeMap<OwnedOneTimeKeyId, Raw<OneTimeKey>>, CryptoError> {
        let mut signed = BTreeMap::new();
        for (id, key) in keys {
            let mut content = object(json!({ "key": key.to_base64() }))?;
            if fallback {
                content.insert("fallback".to_owned(), true.into());
            }
            sign(
                &mut content,
                &self.user_id,
                self.device_id.as_str(),
                |bytes| self.account.sign(bytes),
            )?;
            let id = OneTimeKeyId::parse(format!("{SIGNED_CURVE25519}:{}", id.to_base64()))
                .map_err(|_| CryptoError::Key)?;
            signed.insert(id, into_raw(content)?);
        }
        Ok(signed)
    }

    /// The upload that is due; `None` if the server has everything.
    pub(super) fn upload(&self) -> Result<Option<upload_keys::v3::Request>, CryptoError> {
        let mut request = upload_keys::v3::Request::new();
        if !self.uploaded {
            request.device_keys = Some(into_raw(self.device_keys()?)?);
        }
        request.one_time_keys = self.signed_keys(self.account.one_time_keys(), false)?;
        request.fallback_keys = self.signed_keys(self.account.fallback_key(), true)?;
        let due = request.device_keys.is_some()
            || !request.one_time_keys.is_empty()
            || !request.fallback_keys.is_empty();
        Ok(due.then_some(request))
    }

    pub(super) fn uploaded(&mut self, now_ms: u64) {
        if !self.account.fallback_key().is_empty() {
            self.forget_fallback_ms = Some(now_ms.saturating_add(FALLBACK_KEY_MS_MIN));
        }
        self.account.mark_keys_as_published();
        self.uploaded = true;
    }

    /// Makes the keys that the server is short of. Returns whether anything changed.
    pub(super) fn replenish(&mut self, on_server: u64, fallback_used: bool, now_ms: u64) -> bool {
        let mut changed = false;
        let wanted = self.account.max_number_of_one_time_keys() as u64;
        let missing = wanted.saturating_sub(on_server);
        if missing > 0 && self.account.one_time_keys().is_empty() {
            self.account
                .generate_one_time_keys(usize::try_from(missing).unwrap_or(usize::MAX));
            changed = true;
        }
        let age_ms = now_ms.saturating_sub(self.fallback_made_ms);
        let due = age_ms >= FALLBACK_KEY_MS_MAX || (fallback_used && age_ms >= FALLBACK_KEY_MS_MIN);
        if due && self.account.fallback_key().is_empty() {
            self.account.generate_fallback_key();
            self.fallback_made_ms = now_ms;
            changed = true;
        }
        changed
    }

    /// Forgets the replaced fallback key when its time is over. Returns whether anything changed. While messages come in, one made with
    /// the key may still be under way; a server that lets them come for ever does not keep the key alive.
    pub(super) fn forget_old_fallback(&mut self, quiet: bool, now_ms: u64) -> bool {
        let grace_ms = if quiet { 0 } else { FALLBACK_KEY_GRACE_MS };
        let due = self
            .forget_fallback_ms
            .is_some_and(|at_ms| at_ms.saturating_add(grace_ms) <= now_ms);
        if due {
            self.account.forget_fallback_key();
            self.forget_fallback_ms = None;
        }
        due
    }
}

impl OlmMachine {
    /// Takes the server's counts from a sync response and makes the keys that it is short of.
    pub(super) fn update_key_counts(
        &mut self,
        counts: &BTreeMap<OneTimeKeyAlgorithm, UInt>,
        unused_fallback: Option<&[OneTimeKeyAlgorithm]>,
        now_ms: u64,
    ) -> Result<(), CryptoError> {
        if !self.account.uploaded || self.upload_in_flight() {
            return Ok(());
        }
        let on_server = counts
            .get(&OneTimeKeyAlgorithm::SignedCurve25519)
            .map_or(0, |count| u64::from(*count));
        let used = unused_fallback
            .is_some_and(|unused| !unused.contains(&OneTimeKeyAlgorithm::SignedCurve25519));
        if self.account.replenish(on_server, used, now_ms) {
            self.save_account()?;
        }
        Ok(())
    }
}

/// A field's text, if it is one.
pub(super) fn text<'a>(object: &'a JsonObject, name: &str) -> Option<&'a str> {
    object.get(name).and_then(serde_json::Value::as_str)
}

/// A `json!` object as an object.
pub(super) fn object(value: serde_json::Value) -> Result<JsonObject, CryptoError> {
    match value {
        serde_json::Value::Object(object) => Ok(object),
        _ => Err(CryptoError::Key),
    }
}
