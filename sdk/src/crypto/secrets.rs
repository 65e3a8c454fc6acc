//! Secrets that our devices hand to each other, over Olm.
//!
//! Invariant: a secret is given only to a device of ours that our own identity has signed or that was verified here, and taken only in
//! answer to a request of ours, from such a device, if it is the private half of what is pinned. Spec:
//! <https://spec.matrix.org/v1.19/client-server-api/#sharing>

use std::collections::BTreeMap;

use ruma::{DeviceId, OwnedDeviceId, UserId, serde::JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vodozemac::Ed25519SecretKey;

use super::{
    account::object,
    changes::{Staged, Table},
    error::CryptoError,
    machine::OlmMachine,
    outcome::{Notice, Trust},
    secret::SecretBytes,
    signing::into_raw,
    to_device::OlmEvent,
};

/// A secret that a user keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SecretName {
    /// The private master cross-signing key.
    Master,
    /// The private self-signing key.
    SelfSigning,
    /// The private user-signing key.
    UserSigning,
    /// The private key of the key backup.
    Backup,
}

impl SecretName {
    /// All of them, in the order in which they are taken.
    pub const ALL: [Self; 4] = [
        Self::Master,
        Self::SelfSigning,
        Self::UserSigning,
        Self::Backup,
    ];

    /// The specification's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Master => "m.cross_signing.master",
            Self::SelfSigning => "m.cross_signing.self_signing",
            Self::UserSigning => "m.cross_signing.user_signing",
            Self::Backup => "m.megolm_backup.v1",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }
}

/// A request of ours that waits for an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SecretRequest {
    pub(super) name: SecretName,
}

/// A request of a device of ours with which there is no Olm session yet.
pub(super) struct Unanswered {
    device_id: OwnedDeviceId,
    event_type: &'static str,
    content: JsonObject,
}

/// So many of those wait at most; a device whose request is dropped asks again when it starts.
const UNANSWERED_MAX: usize = 256;

/// So many requests of ours wait at most.
const REQUESTS_MAX: usize = 64;

impl OlmMachine {
    /// The secrets that this device holds, by name, as they are kept in secret storage: base64.
    pub fn export_secrets(&self) -> BTreeMap<SecretName, SecretBytes> {
        let mut secrets = BTreeMap::new();
        for name in SecretName::ALL {
            if let Some(secret) = self.secret(name) {
                secrets.insert(name, secret);
            }
        }
        secrets
    }

    fn secret(&self, name: SecretName) -> Option<SecretBytes> {
        if name == SecretName::Backup {
            return self.backup_secret();
        }
        let key = self.cross_signing.as_ref()?.get(name)?;
        Some(SecretBytes::new(key.to_base64().into_bytes()))
    }

    /// Takes a secret that the user brought along, from secret storage for instance.
    ///
    /// # Errors
    /// [`CryptoError::SecretMismatch`] if it is not the private half of what is pinned, [`CryptoError::UnknownUser`] if nothing is known
    /// of our own identity yet: fetch our own devices first.
    pub fn import_secret(
        &mut self,
        name: SecretName,
        secret: &SecretBytes,
    ) -> Result<Staged<()>, CryptoError> {
        self.take_secret(name, secret.expose())?;
        Ok(self.stage(()))
    }

    fn take_secret(&mut self, name: SecretName, secret: &[u8]) -> Result<(), CryptoError> {
        let text = std::str::from_utf8(secret).map_err(|_| CryptoError::SecretMismatch)?;
        let text = text.trim().trim_end_matches('=');
        if name == SecretName::Backup {
            return self.take_backup_secret(text);
        }
        let key = Ed25519SecretKey::from_base64(text).map_err(|_| CryptoError::SecretMismatch)?;
        self.import_private_key(name, key)
    }

    /// Asks our other devices for the secrets that this one lacks.
    pub(super) fn request_missing_secrets(&mut self) -> Result<(), CryptoError> {
        let asked: Vec<SecretName> = self
            .secret_requests
            .values()
            .map(|asked| asked.name)
            .collect();
        for name in SecretName::ALL {
            let lacking = self.secret(name).is_none() && !asked.contains(&name);
            if !lacking || self.secret_requests.len() >= REQUESTS_MAX {
                continue;
            }
            let request_id = format!("{}{}", self.device_id, self.meta.next_outgoing);
            let content = object(json!({
                "action": "request",
                "name": name.as_str(),
                "request_id": request_id,
                "requesting_device_id": self.device_id,
            }))?;
            self.tell_own_devices("m.secret.request", &content)?;
            let request = SecretRequest { name };
            self.pending
                .put(Table::SecretRequests, &request_id, &request)?;
            self.secret_requests.insert(request_id, request);
        }
        Ok(())
    }

    /// Sends something in the clear to all other devices of ours.
    pub(super) fn tell_own_devices(
        &mut self,
        event_type: &str,
        content: &JsonObject,
    ) -> Result<(), CryptoError> {
        let own = self.users.get(&self.user_id);
        let devices = own.into_iter().flat_map(|own| &own.devices);
        let devices = devices.filter(|(_, device)| !device.dehydrated);
        let devices = devices.map(|(device_id, _)| device_id.clone());
        let mut messages = Vec::new();
        for device_id in devices.collect::<Vec<OwnedDeviceId>>() {
            messages.push((self.user_id.clone(), device_id, into_raw(content.clone())?));
        }
        self.queue_to_device(event_type, messages, None)
    }

    /// A device of ours that may be given secrets, with its record: one that was verified, not merely seen.
    pub(super) fn trusted_own_device(
        &self,
        device_id: &str,
    ) -> Option<(OwnedDeviceId, super::users::DeviceRecord)> {
        let own = self.users.get(&self.user_id)?;
        let device_id = OwnedDeviceId::from(device_id);
        let device = own.devices.get(&device_id)?;
        (own.trust(device) == Trust::Verified && !device.dehydrated)
            .then(|| (device_id, device.clone()))
    }

    /// A device of ours asks for a secret.
    pub(super) fn answer_secret_request(
        &mut self,
        sender: &UserId,
        content: &JsonObject,
    ) -> Result<(), CryptoError> {
        let text = |name: &str| content.get(name).and_then(Value::as_str);
        let (Some("request"), Some(name), Some(request_id), Some(device_id)) = (
            text("action"),
            text("name").and_then(SecretName::parse),
            text("request_id"),
            text("requesting_device_id"),
        ) else {
            return Ok(());
        };
        let known = (*sender == self.user_id).then(|| self.trusted_own_device(device_id));
        let (Some((device_id, device)), Some(secret)) = (known.flatten(), self.secret(name)) else {
            return Ok(());
        };
        let secret = std::str::from_utf8(secret.expose()).map_err(|_| CryptoError::Key)?;
        let answer = object(json!({ "request_id": request_id, "secret": secret }))?;
        let request = ("m.secret.request", content);
        self.answer_own_device((device_id, device), ("m.secret.send", answer), request)
    }

    /// Sends a device of ours over Olm what it asked for, now or as soon as there is a session with it. The content is wiped.
    pub(super) fn answer_own_device(
        &mut self,
        (device_id, device): (OwnedDeviceId, super::users::DeviceRecord),
        (event_type, mut content): (&str, JsonObject),
        request: (&'static str, &JsonObject),
    ) -> Result<(), CryptoError> {
        let user_id = self.user_id.clone();
        let message =
            self.encrypt_olm(&user_id, &device_id, &device, event_type, &content, None)?;
        content.values_mut().for_each(super::secret::wipe);
        match message {
            Some(message) => {
                let messages = vec![(user_id, device_id, message)];
                self.queue_to_device("m.room.encrypted", messages, None)
            }
            None => {
                self.answer_later(device_id, request.0, request.1);
                Ok(())
            }
        }
    }

    /// Has a session made with a device of ours, and answers it then.
    fn answer_later(
        &mut self,
        device_id: OwnedDeviceId,
        event_type: &'static str,
        content: &JsonObject,
    ) {
        if self.unanswered.len() < UNANSWERED_MAX {
            self.wedged
                .insert((self.user_id.clone(), device_id.clone()));
            self.unanswered.push(Unanswered {
                device_id,
                event_type,
                content: content.clone(),
            });
        }
    }

    /// Answers what waited for a session with a device of ours.
    pub(super) fn answer_waiting(&mut self, device_id: &DeviceId) -> Result<(), CryptoError> {
        let own = self.user_id.clone();
        let waiting = std::mem::take(&mut self.unanswered);
        let (now, later): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|request| request.device_id == *device_id);
        self.unanswered = later;
        for request in now {
            match request.event_type {
                "m.secret.request" => self.answer_secret_request(&own, &request.content)?,
                _ => self.answer_key_request(&own, &request.content)?,
            }
        }
        Ok(())
    }

    /// A device sends a secret.
    pub(super) fn receive_secret(
        &mut self,
        event: &OlmEvent,
        notices: &mut Vec<Notice>,
    ) -> Result<(), CryptoError> {
        let text = |name: &str| event.content.get(name).and_then(Value::as_str);
        let (Some(request_id), Some(secret)) = (text("request_id"), text("secret")) else {
            return Ok(());
        };
        let (device_id, _) = self.trust_of(&event.sender, &event.sender_key, &event.sender_ed25519);
        let trusted = event.sender == self.user_id
            && device_id.is_some_and(|device_id| {
                device_id != self.device_id && self.trusted_own_device(device_id.as_str()).is_some()
            });
        let Some(request) = self
            .secret_requests
            .get(request_id)
            .filter(|_| trusted)
            .cloned()
        else {
            notices.push(Notice::SecretRefused);
            return Ok(());
        };
        let request_id = request_id.to_owned();
        match self.take_secret(request.name, secret.as_bytes()) {
            Ok(()) => {}
            Err(CryptoError::SecretMismatch | CryptoError::UnknownUser) => {
                notices.push(Notice::SecretRefused);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.secret_requests.remove(&request_id);
        self.pending.delete(Table::SecretRequests, &request_id);
        let content = object(json!({
            "action": "request_cancellation",
            "request_id": request_id,
            "requesting_device_id": self.device_id,
        }))?;
        self.tell_own_devices("m.secret.request", &content)?;
        notices.push(Notice::SecretReceived(request.name));
        Ok(())
    }
}
