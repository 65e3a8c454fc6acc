//! What arrives for this device: decrypting it and applying the specification's checks.
//!
//! Invariant: an encrypted event that fails any check is discarded, and what only Olm may carry (room keys, secrets) is never taken from
//! anything else. Spec: <https://spec.matrix.org/v1.19/client-server-api/#validation-of-incoming-decrypted-events>

use ruma::{
    DeviceId, OwnedUserId, UserId,
    events::AnyToDeviceEvent,
    serde::{JsonObject, Raw},
};
use serde::Deserialize;
use serde_json::Value;
use vodozemac::olm::OlmMessage;

use super::{
    changes::Staged,
    error::CryptoError,
    machine::OlmMachine,
    outcome::{
        Notice, RoomKeyRefusal, SyncOutcome, ToDeviceEncryption, ToDeviceEvent, ToDeviceRefusal,
    },
    query::parse_device_object,
    requests::SyncChanges,
    secret::wipe,
};

/// So many reasons for withheld keys are kept; the server can send as many as it likes.
const WITHHELD_MAX: usize = 10_000;

#[derive(Deserialize)]
struct OuterEvent {
    #[serde(rename = "type")]
    event_type: String,
    sender: OwnedUserId,
    content: JsonObject,
}

/// The plaintext of an Olm message.
#[derive(Deserialize)]
struct OlmPlaintext {
    #[serde(rename = "type")]
    event_type: String,
    content: JsonObject,
    sender: OwnedUserId,
    recipient: OwnedUserId,
    recipient_keys: SigningKey,
    keys: SigningKey,
    sender_device_keys: Option<JsonObject>,
}

#[derive(Deserialize)]
struct SigningKey {
    ed25519: String,
}

/// A checked Olm message.
pub(super) struct OlmEvent {
    pub(super) sender: OwnedUserId,
    pub(super) sender_key: String,
    pub(super) sender_ed25519: String,
    pub(super) event_type: String,
    pub(super) content: JsonObject,
}

impl OlmMachine {
    /// Takes the parts of a sync response that concern the machine. Commit the changes together with the sync token, and with the
    /// outcome's events if they are not handled at once.
    ///
    /// # Errors
    /// [`CryptoError`] only if the machine itself fails; whatever is wrong with an event is a notice.
    pub fn receive_sync_changes(
        &mut self,
        sync: SyncChanges,
        now_ms: u64,
    ) -> Result<Staged<SyncOutcome>, CryptoError> {
        let mut outcome = SyncOutcome::default();
        self.expiry_now(now_ms);
        self.update_device_lists(&sync.device_lists)?;
        self.expire_verifications(now_ms, &mut outcome.notices)?;
        for event in &sync.to_device {
            self.receive_to_device(event, now_ms, &mut outcome)?;
        }
        let quiet = sync.to_device.is_empty();
        if self.account.forget_old_fallback(quiet, now_ms) {
            self.save_account()?;
        }
        self.update_key_counts(
            &sync.one_time_key_counts,
            sync.unused_fallback_keys.as_deref(),
            now_ms,
        )?;
        Ok(self.stage(outcome))
    }

    fn receive_to_device(
        &mut self,
        event: &Raw<AnyToDeviceEvent>,
        now_ms: u64,
        outcome: &mut SyncOutcome,
    ) -> Result<(), CryptoError> {
        let Ok(event) = serde_json::from_str::<OuterEvent>(event.json().get()) else {
            return Ok(());
        };
        match event.event_type.as_str() {
            "m.room.encrypted" => return self.receive_encrypted(event, now_ms, outcome),
            "m.room_key" | "m.forwarded_room_key" => outcome.notices.push(Notice::RoomKeyRefused {
                sender: event.sender,
                reason: RoomKeyRefusal::NotEncrypted,
            }),
            "m.room_key.withheld" => self.receive_withheld(&event.content, outcome)?,
            "m.room_key_request" => self.answer_key_request(&event.sender, &event.content)?,
            "m.secret.request" => self.answer_secret_request(&event.sender, &event.content)?,
            // Secrets are taken over Olm only, and a dummy says nothing.
            "m.secret.send" | "m.dummy" => {}
            kind => {
                let said = (kind, &event.content);
                let notices = &mut outcome.notices;
                if !self.receive_verification(&event.sender, said, now_ms, notices)? {
                    outcome.to_device.push(ToDeviceEvent {
                        sender: event.sender,
                        event_type: event.event_type,
                        content: event.content,
                        encryption: None,
                    });
                }
            }
        }
        Ok(())
    }

    fn receive_encrypted(
        &mut self,
        event: OuterEvent,
        now_ms: u64,
        outcome: &mut SyncOutcome,
    ) -> Result<(), CryptoError> {
        let mut decrypted = match self.decrypt_to_device(&event.sender, &event.content, now_ms)? {
            Ok(decrypted) => decrypted,
            Err(reason) => {
                outcome.notices.push(Notice::ToDeviceDiscarded {
                    sender: event.sender,
                    reason,
                });
                return Ok(());
            }
        };
        match decrypted.event_type.as_str() {
            "m.room_key" => {
                self.receive_room_key(&decrypted, now_ms, outcome)?;
                decrypted.content.values_mut().for_each(wipe);
            }
            "m.forwarded_room_key" => {
                self.receive_forwarded_key(&decrypted, outcome)?;
                decrypted.content.values_mut().for_each(wipe);
            }
            "m.secret.send" => {
                self.receive_secret(&decrypted, &mut outcome.notices)?;
                decrypted.content.values_mut().for_each(wipe);
            }
            "m.room_key.withheld" => self.receive_withheld(&decrypted.content, outcome)?,
            // Requests come in the clear; an encrypted event inside another is nobody's honest message.
            "m.room_key_request" | "m.secret.request" | "m.dummy" | "m.room.encrypted" => {}
            kind => {
                let said = (kind, &decrypted.content);
                let notices = &mut outcome.notices;
                if self.receive_verification(&decrypted.sender, said, now_ms, notices)? {
                    return Ok(());
                }
                let (sender_device, trust) = self.trust_of(
                    &decrypted.sender,
                    &decrypted.sender_key,
                    &decrypted.sender_ed25519,
                );
                let encryption = ToDeviceEncryption {
                    sender_device,
                    sender_key: decrypted.sender_key,
                    trust,
                };
                outcome.to_device.push(ToDeviceEvent {
                    sender: decrypted.sender,
                    event_type: decrypted.event_type,
                    content: decrypted.content,
                    encryption: Some(encryption),
                });
            }
        }
        Ok(())
    }

    pub(super) fn decrypt_to_device(
        &mut self,
        sender: &UserId,
        content: &JsonObject,
        now_ms: u64,
    ) -> Result<Result<OlmEvent, ToDeviceRefusal>, CryptoError> {
        let text = |name: &str| content.get(name).and_then(Value::as_str);
        if text("algorithm") != Some("m.olm.v1.curve25519-aes-sha2") {
            return Ok(Err(ToDeviceRefusal::NotOlm));
        }
        let ours = content
            .get("ciphertext")
            .and_then(|all| all.get(self.account.curve25519()));
        let (Some(sender_key), Some(message)) =
            (text("sender_key"), ours.and_then(parse_olm_message))
        else {
            return Ok(Err(ToDeviceRefusal::Malformed));
        };
        let Some(plaintext) = self.decrypt_olm_message(sender_key, &message, now_ms)? else {
            self.unwedge(sender, sender_key, now_ms);
            return Ok(Err(ToDeviceRefusal::Undecryptable));
        };
        let plaintext = zeroize::Zeroizing::new(plaintext);
        let Ok(inner) = serde_json::from_slice::<OlmPlaintext>(&plaintext) else {
            return Ok(Err(ToDeviceRefusal::Malformed));
        };
        Ok(self
            .check_olm(sender, sender_key, &inner)
            .map(|()| OlmEvent {
                sender: inner.sender,
                sender_key: sender_key.to_owned(),
                sender_ed25519: inner.keys.ed25519,
                event_type: inner.event_type,
                content: inner.content,
            }))
    }

    /// The checks, in the specification's order and numbering.
    fn check_olm(
        &self,
        sender: &UserId,
        sender_key: &str,
        inner: &OlmPlaintext,
    ) -> Result<(), ToDeviceRefusal> {
        if inner.sender != *sender {
            return Err(ToDeviceRefusal::SenderMismatch);
        }
        // Of a sender whose devices are not known yet, the device is judged when the message is used: see `Trust`.
        let devices = self
            .users
            .get(sender)
            .map(|user| &user.devices)
            .into_iter()
            .flatten();
        let known = devices
            .into_iter()
            .find(|(_, device)| device.curve25519 == sender_key);
        if known.is_some_and(|(_, device)| device.ed25519 != inner.keys.ed25519) {
            return Err(ToDeviceRefusal::SenderKeyMismatch);
        }
        if known.is_some_and(|(_, device)| device.dehydrated) {
            return Err(ToDeviceRefusal::Dehydrated);
        }
        if inner.recipient != self.user_id {
            return Err(ToDeviceRefusal::RecipientMismatch);
        }
        if inner.recipient_keys.ed25519 != self.account.ed25519() {
            return Err(ToDeviceRefusal::RecipientKeyMismatch);
        }
        match &inner.sender_device_keys {
            Some(keys) if !device_keys_fit(sender, sender_key, &inner.keys.ed25519, keys) => {
                Err(ToDeviceRefusal::SenderDeviceKeys)
            }
            _ => Ok(()),
        }
    }

    /// Remembers why a key does not come. Anyone can write such a notice: it explains, and proves nothing.
    fn receive_withheld(
        &mut self,
        content: &JsonObject,
        outcome: &mut SyncOutcome,
    ) -> Result<(), CryptoError> {
        let text = |name: &str| {
            content
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| text.len() <= 255)
        };
        let (Some(session_id), Some(code)) = (text("session_id"), text("code")) else {
            return Ok(());
        };
        let known = self.withheld.get(session_id);
        let is_news = known.is_none_or(|known| known != code);
        if is_news && (known.is_some() || self.withheld.len() < WITHHELD_MAX) {
            self.pending
                .put(super::changes::Table::Withheld, session_id, &code)?;
            self.withheld.insert(session_id.to_owned(), code.to_owned());
            outcome.withheld.push(session_id.to_owned());
        }
        Ok(())
    }
}

/// Check 5: the device keys in the message are the sender's, fit the message's keys, and are signed by the device.
fn device_keys_fit(sender: &UserId, sender_key: &str, ed25519: &str, keys: &JsonObject) -> bool {
    let Some(device_id) = keys.get("device_id").and_then(Value::as_str) else {
        return false;
    };
    let device = parse_device_object(sender, <&DeviceId>::from(device_id), keys, None);
    device.is_some_and(|device| device.curve25519 == sender_key && device.ed25519 == ed25519)
}

fn parse_olm_message(info: &Value) -> Option<OlmMessage> {
    let message_type = usize::try_from(info.get("type")?.as_u64()?).ok()?;
    let body = vodozemac::base64_decode(info.get("body")?.as_str()?).ok()?;
    OlmMessage::from_parts(message_type, &body).ok()
}
