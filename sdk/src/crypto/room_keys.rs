//! Room keys that other devices send us.
//!
//! Invariant: a room key is taken from an Olm message only, for the user and device that sent it; its id must be that of the key.
//! An expiring session's death is never later than its class allows, whatever the sender says.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroom_key>

use ruma::{OwnedRoomId, RoomId, serde::JsonObject};
use serde_json::Value;
use vodozemac::megolm::{InboundGroupSession, SessionConfig, SessionKey};

use super::{
    error::CryptoError,
    inbound::{InboundKey, InboundRecord, SessionExpiry},
    machine::OlmMachine,
    outcome::{Notice, RoomKeyRefusal, SyncOutcome},
    to_device::OlmEvent,
};
use crate::expiry::{EXPIRY_FIELD, ExpiryClass};

/// Name of the field that tells when a session is dead, in the stamp of its room key.
pub(super) const DEAD_AT_FIELD: &str = "dead_at";

impl OlmMachine {
    pub(super) fn receive_room_key(
        &mut self,
        event: &OlmEvent,
        now_ms: u64,
        outcome: &mut SyncOutcome,
    ) -> Result<(), CryptoError> {
        let taken = match parse_room_key(&event.content) {
            Some((room_id, session)) => {
                let key = InboundKey::new(&event.sender, &session.session_id());
                let record = InboundRecord {
                    session,
                    room_id: room_id.clone(),
                    sender_curve25519: event.sender_key.clone(),
                    sender_ed25519: event.sender_ed25519.clone(),
                    expiry: parse_expiry(&event.content, now_ms),
                    imported: false,
                    backed_up_in: None,
                };
                self.import_session(&key, record, now_ms)?
                    .map(|better| (better, room_id, key.session_id))
            }
            None => Err(RoomKeyRefusal::Malformed),
        };
        match taken {
            Ok((true, room_id, session_id)) => {
                self.key_arrived(&session_id)?;
                outcome.new_room_keys.push((room_id, session_id));
            }
            Ok((false, ..)) => {}
            Err(reason) => outcome.notices.push(Notice::RoomKeyRefused {
                sender: event.sender.clone(),
                reason,
            }),
        }
        Ok(())
    }
}

fn parse_room_key(content: &JsonObject) -> Option<(OwnedRoomId, InboundGroupSession)> {
    let text = |name: &str| content.get(name).and_then(Value::as_str);
    if text("algorithm")? != "m.megolm.v1.aes-sha2" {
        return None;
    }
    let room_id = RoomId::parse(text("room_id")?).ok()?;
    let key = SessionKey::from_base64(text("session_key")?).ok()?;
    let session = InboundGroupSession::new(&key, SessionConfig::version_1());
    (session.session_id() == text("session_id")?).then_some((room_id, session))
}

fn parse_expiry(content: &JsonObject, now_ms: u64) -> Option<SessionExpiry> {
    let stamp = content.get(EXPIRY_FIELD)?;
    let class = ExpiryClass::from_ms(stamp.get("ttl_ms").and_then(Value::as_u64).unwrap_or(0));
    let latest = SessionExpiry::starting(class, now_ms);
    let said = stamp
        .get(DEAD_AT_FIELD)
        .and_then(Value::as_u64)
        .unwrap_or(latest.dead_at_ms);
    Some(SessionExpiry {
        class,
        dead_at_ms: said.min(latest.dead_at_ms),
    })
}
