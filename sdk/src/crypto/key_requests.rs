//! Asking our other devices for room keys, and answering them.
//!
//! Invariant: keys are asked of, taken from and given to our own verified devices only; what nobody asked for is not taken; keys of
//! expiring messages are given to nobody. Spec: <https://spec.matrix.org/v1.19/client-server-api/#key-requests>

use std::collections::BTreeSet;

use ruma::{DeviceId, OwnedDeviceId, OwnedRoomId, OwnedUserId, RoomId, UserId, serde::JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    account::object,
    changes::{Staged, Table},
    error::CryptoError,
    exported::{ExportedKey, ImportOutcome},
    machine::OlmMachine,
    outcome::{Notice, RoomKeyRefusal, SyncOutcome},
    signing::into_raw,
    to_device::OlmEvent,
};

/// So many requests of ours wait at most.
const REQUESTS_MAX: usize = 1000;

/// So many answers are remembered; beyond them the request that sorts first may be answered again.
const ANSWERED_MAX: usize = 10_000;

/// Who has been answered: user, device and session.
pub(super) type Answered = BTreeSet<(OwnedUserId, OwnedDeviceId, String)>;

/// A request of ours, by the session's id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyRequestRecord {
    room_id: OwnedRoomId,
    request_id: String,
}

/// The content of an `m.room_key_request`.
#[derive(Deserialize)]
struct KeyRequest {
    action: String,
    requesting_device_id: String,
    body: RequestedKey,
}

#[derive(Deserialize)]
struct RequestedKey {
    room_id: OwnedRoomId,
    session_id: String,
}

impl OlmMachine {
    /// Asks our verified devices for a session's key, unless that was done already or its sender said that it gives none.
    ///
    /// # Errors
    /// [`CryptoError::Encode`] if a record cannot be serialised.
    pub fn request_room_key(
        &mut self,
        room_id: &RoomId,
        session_id: &str,
        sender_key: Option<&str>,
    ) -> Result<Staged<()>, CryptoError> {
        if self.key_requests.contains_key(session_id) || self.key_requests.len() >= REQUESTS_MAX {
            return Ok(self.stage(()));
        }
        let dead = self
            .floors
            .iter()
            .any(|(key, floor)| key.session_id == session_id && floor.dead);
        let devices = self.trusted_own_devices();
        if dead || devices.is_empty() {
            return Ok(self.stage(()));
        }
        let request_id = format!("{}{}", self.device_id, self.meta.next_outgoing);
        let mut body = object(json!({
            "algorithm": "m.megolm.v1.aes-sha2",
            "room_id": room_id,
            "session_id": session_id,
        }))?;
        if let Some(key) = sender_key {
            body.insert("sender_key".to_owned(), key.into());
        }
        let content = object(json!({
            "action": "request",
            "body": body,
            "request_id": request_id,
            "requesting_device_id": self.device_id,
        }))?;
        let mut messages = Vec::new();
        for device_id in devices {
            messages.push((self.user_id.clone(), device_id, into_raw(content.clone())?));
        }
        self.queue_to_device("m.room_key_request", messages, None)?;
        let record = KeyRequestRecord {
            room_id: room_id.to_owned(),
            request_id,
        };
        self.pending.put(Table::KeyRequests, session_id, &record)?;
        self.key_requests.insert(session_id.to_owned(), record);
        Ok(self.stage(()))
    }

    /// Our other devices that were verified.
    fn trusted_own_devices(&self) -> Vec<ruma::OwnedDeviceId> {
        let own = self.users.get(&self.user_id);
        let ids = own.into_iter().flat_map(|own| own.devices.keys());
        ids.filter_map(|id| Some(self.trusted_own_device(id.as_str())?.0))
            .collect()
    }

    /// A request is settled: the key is here.
    pub(super) fn key_arrived(&mut self, session_id: &str) -> Result<(), CryptoError> {
        let Some(request) = self.key_requests.remove(session_id) else {
            return Ok(());
        };
        self.pending.delete(Table::KeyRequests, session_id);
        let content = object(json!({
            "action": "request_cancellation",
            "request_id": request.request_id,
            "requesting_device_id": self.device_id,
        }))?;
        self.tell_own_devices("m.room_key_request", &content)
    }

    /// Somebody asks for a key. A verified device of ours is given it; of an expiring session whoever asks is told that there will be
    /// none, since no other device of ours will do better; other requests are left unanswered.
    pub(super) fn answer_key_request(
        &mut self,
        sender: &UserId,
        content: &JsonObject,
    ) -> Result<(), CryptoError> {
        let request = serde_json::from_value::<KeyRequest>(Value::Object(content.clone()));
        let Some(request) = request.ok().filter(|request| request.action == "request") else {
            return Ok(());
        };
        let (room_id, session_id) = (&request.body.room_id, &request.body.session_id);
        let record = self
            .inbound
            .iter()
            .find(|(key, record)| key.session_id == *session_id && record.room_id == *room_id)
            .map(|(_, record)| record);
        let Some(record) = record else {
            return Ok(());
        };
        let asking = OwnedDeviceId::from(request.requesting_device_id.as_str());
        let name = (sender.to_owned(), asking, session_id.clone());
        if self.answered.contains(&name) {
            // A server can repeat a request in the clear as often as it likes; each answer costs a message.
            return Ok(());
        }
        match record.forwarded()? {
            None => self.refuse_key(sender, &request),
            Some(key) if *sender == self.user_id => {
                let asking = (&*request.requesting_device_id, &*request.body.session_id);
                self.forward_key(asking, key, content)
            }
            Some(_) => Ok(()),
        }
    }

    fn refuse_key(&mut self, sender: &UserId, request: &KeyRequest) -> Result<(), CryptoError> {
        let device_id = ruma::OwnedDeviceId::from(request.requesting_device_id.as_str());
        let known = self
            .users
            .get(sender)
            .is_some_and(|user| user.devices.contains_key(&device_id));
        if !known {
            return Ok(());
        }
        let answer = object(json!({
            "algorithm": "m.megolm.v1.aes-sha2",
            "code": "m.unauthorised",
            "room_id": request.body.room_id,
            "session_id": request.body.session_id,
            "sender_key": self.account.curve25519(),
        }))?;
        self.note_answered(sender, &device_id, &request.body.session_id);
        let message = (sender.to_owned(), device_id, into_raw(answer)?);
        self.queue_to_device("m.room_key.withheld", vec![message], None)
    }

    fn forward_key(
        &mut self,
        (device_id, session_id): (&str, &str),
        mut key: JsonObject,
        request: &JsonObject,
    ) -> Result<(), CryptoError> {
        let Some((device_id, device)) = self.trusted_own_device(device_id) else {
            key.values_mut().for_each(super::secret::wipe);
            return Ok(());
        };
        if self.has_session(&device) {
            // Otherwise it is answered later, by way of the same request.
            let user_id = self.user_id.clone();
            self.note_answered(&user_id, &device_id, session_id);
        }
        let request = ("m.room_key_request", request);
        self.answer_own_device((device_id, device), ("m.forwarded_room_key", key), request)
    }

    fn note_answered(&mut self, user_id: &UserId, device_id: &DeviceId, session_id: &str) {
        if self.answered.len() >= ANSWERED_MAX {
            self.answered.pop_first();
        }
        let name = (
            user_id.to_owned(),
            device_id.to_owned(),
            session_id.to_owned(),
        );
        self.answered.insert(name);
    }

    /// A key comes that another device holds.
    pub(super) fn receive_forwarded_key(
        &mut self,
        event: &OlmEvent,
        outcome: &mut SyncOutcome,
    ) -> Result<(), CryptoError> {
        let text = |name: &str| event.content.get(name).and_then(Value::as_str);
        let (Some(room_id), Some(session_id), Some(claimed)) = (
            text("room_id"),
            text("session_id"),
            text("sender_claimed_ed25519_key"),
        ) else {
            outcome.refuse_key(event, RoomKeyRefusal::Malformed);
            return Ok(());
        };
        let (device_id, _) = self.trust_of(&event.sender, &event.sender_key, &event.sender_ed25519);
        let trusted = event.sender == self.user_id
            && device_id.is_some_and(|id| self.trusted_own_device(id.as_str()).is_some());
        let asked = self.key_requests.get(session_id);
        if !trusted || asked.is_none_or(|request| request.room_id != room_id) {
            outcome.refuse_key(event, RoomKeyRefusal::Forwarded);
            return Ok(());
        }
        let mut fields = event.content.clone();
        fields.insert(
            "sender_claimed_keys".to_owned(),
            json!({ "ed25519": claimed }),
        );
        let key = ExportedKey::from_fields(fields, room_id, session_id);
        let mut count = ImportOutcome::default();
        self.import_exported(key, &mut count)?;
        if count.refused > 0 {
            outcome.refuse_key(event, RoomKeyRefusal::Conflict);
            return Ok(());
        }
        let session_id = session_id.to_owned();
        if let Ok(room_id) = RoomId::parse(room_id) {
            outcome.new_room_keys.push((room_id, session_id.clone()));
        }
        self.key_arrived(&session_id)
    }
}

impl SyncOutcome {
    fn refuse_key(&mut self, event: &OlmEvent, reason: RoomKeyRefusal) {
        self.notices.push(Notice::RoomKeyRefused {
            sender: event.sender.clone(),
            reason,
        });
    }
}
