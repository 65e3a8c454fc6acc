//! Signatures that we made and the server does not have yet.
//!
//! Invariant: a signature is recorded before anybody is told that something is verified, and forgotten only when the server has taken it.
//! What is signed is the object as the server gave it to us, so that the signature fits what others are given.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload>

use std::collections::BTreeMap;

use ruma::{
    DeviceId, OwnedUserId, UserId, api::client::keys::upload_signatures, serde::JsonObject,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use vodozemac::Ed25519SecretKey;

use super::{
    account::object,
    changes::Table,
    error::CryptoError,
    in_flight::InFlight,
    machine::{OlmMachine, SINGLE},
    requests::{OutgoingBody, OutgoingRequest},
    signing::{into_raw, sign},
};

/// By user, and by device id or public key: the signed objects.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct SignaturesDue(BTreeMap<OwnedUserId, BTreeMap<String, JsonObject>>);

impl OlmMachine {
    pub(super) fn queue_signature(
        &mut self,
        user_id: &UserId,
        name: &str,
        signed: JsonObject,
    ) -> Result<(), CryptoError> {
        let of_user = self.signatures_due.0.entry(user_id.to_owned()).or_default();
        of_user.insert(name.to_owned(), signed);
        self.pending
            .put(Table::Signatures, SINGLE, &self.signatures_due)
    }

    /// Signs a device of ours with the self-signing key, if that is here.
    pub(super) fn queue_device_signature(
        &mut self,
        device_id: &DeviceId,
    ) -> Result<(), CryptoError> {
        let user_id = self.user_id.clone();
        let device = self
            .users
            .get(&user_id)
            .and_then(|user| user.devices.get(device_id));
        let keys = self.cross_signing.as_ref();
        let (Some(device), Some(key)) = (device, keys.and_then(|keys| keys.self_signing.as_ref()))
        else {
            return Ok(());
        };
        let mut content = match &device.listed {
            Some(listed) => listed.clone(),
            None => object(json!({
                "user_id": user_id,
                "device_id": device_id,
                "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
                "keys": {
                    format!("ed25519:{device_id}"): device.ed25519,
                    format!("curve25519:{device_id}"): device.curve25519,
                },
            }))?,
        };
        sign_by(&mut content, &user_id, key)?;
        self.queue_signature(&user_id, device_id.as_str(), content)
    }

    /// Signs a user's master key with our user-signing key, if that is here.
    pub(super) fn queue_identity_signature(&mut self, user_id: &UserId) -> Result<(), CryptoError> {
        let identity = self.users.get(user_id);
        let identity = identity.and_then(|user| user.identity.as_ref());
        let keys = self.cross_signing.as_ref();
        let (Some(identity), Some(key)) =
            (identity, keys.and_then(|keys| keys.user_signing.as_ref()))
        else {
            return Ok(());
        };
        let master = identity.master.clone();
        let mut content = object(json!({
            "user_id": user_id,
            "usage": ["master"],
            "keys": { format!("ed25519:{master}"): master },
        }))?;
        sign_by(&mut content, &self.user_id, key)?;
        self.queue_signature(user_id, &master, content)
    }

    /// The upload that is due, unless one is under way.
    pub(super) fn next_signatures(&mut self) -> Result<Option<OutgoingRequest>, CryptoError> {
        let under_way = |request: &InFlight| matches!(request, InFlight::SignatureUpload(_));
        if self.signatures_due.0.is_empty() || self.in_flight.values().any(under_way) {
            return Ok(None);
        }
        let mut all = BTreeMap::new();
        for (user_id, objects) in &self.signatures_due.0 {
            let mut signed = upload_signatures::v3::SignedKeys::new();
            for (name, content) in objects {
                if content.contains_key("device_id") {
                    signed.add_device_keys(name.as_str().into(), into_raw(content.clone())?);
                } else {
                    signed.add_cross_signing_keys(name.as_str().into(), into_raw(content.clone())?);
                }
            }
            all.insert(user_id.clone(), signed);
        }
        let due = self.signatures_due.clone();
        let request = upload_signatures::v3::Request::new(all);
        let body = OutgoingBody::SignatureUpload(request);
        Ok(Some(self.start(InFlight::SignatureUpload(due), body)))
    }

    /// Forgets what the server has taken; what was signed meanwhile stays.
    pub(super) fn signatures_taken(&mut self, taken: &SignaturesDue) -> Result<(), CryptoError> {
        for (user_id, objects) in &taken.0 {
            let Some(due) = self.signatures_due.0.get_mut(user_id) else {
                continue;
            };
            due.retain(|name, content| objects.get(name) != Some(content));
        }
        self.signatures_due
            .0
            .retain(|_, objects| !objects.is_empty());
        self.pending
            .put(Table::Signatures, SINGLE, &self.signatures_due)
    }
}

/// Replaces whatever signatures there are by ours: a server wants the new ones only.
fn sign_by(
    content: &mut JsonObject,
    user_id: &UserId,
    key: &Ed25519SecretKey,
) -> Result<(), CryptoError> {
    content.remove("signatures");
    content.remove("unsigned");
    let name = key.public_key().to_base64();
    sign(content, user_id, &name, |bytes| key.sign(bytes))
}
