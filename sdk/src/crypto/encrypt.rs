//! Encrypting a room event.
//!
//! Invariant: an index of a session is used once: the advanced session is in the changes that come with the ciphertext. Plaintexts are
//! padded to a few sizes, since Megolm shows a plaintext's length.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#mmegolmv1aes-sha2>

use ruma::{
    RoomId,
    events::room::encrypted::RoomEncryptedEventContent,
    serde::{JsonObject, Raw},
};
use serde::Serialize;
use serde_json::json;

use super::{
    account::object,
    changes::Staged,
    error::EncryptError,
    inbound::{InboundKey, Seen},
    machine::OlmMachine,
    outbound::outbound_key,
    secret::{to_json, wipe},
    settings::EncryptOptions,
    signing::into_raw,
    views::{SaidView, View},
};

/// A plaintext has at most so many bytes: in base64, with the rest of an event around it, it fits the specification's 65536.
pub(super) const PLAINTEXT_BYTES_MAX: usize = 44 * 1024;

/// The plaintext of a Megolm message.
#[derive(Serialize)]
struct MegolmPlaintext<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    content: &'a JsonObject,
    room_id: &'a RoomId,
    #[serde(rename = "org.passeur.view", skip_serializing_if = "Option::is_none")]
    view: Option<&'a SaidView>,
}

/// The sizes that plaintexts are padded to, in bytes.
const PADDED_BYTES: [usize; 5] = [256, 1024, 4 * 1024, 16 * 1024, 40 * 1024];

impl OlmMachine {
    /// Encrypts an event for a room. Call [`share_room_key`](Self::share_room_key) with the same lifetime class first. Commit the changes
    /// together with the ciphertext, then send it as `m.room.encrypted`.
    ///
    /// # Errors
    /// [`EncryptError::RoomKeyNotShared`] if there is no session to use; the other variants say what is wrong.
    pub fn encrypt_room_event(
        &mut self,
        room_id: &RoomId,
        event_type: &str,
        content: &JsonObject,
        options: EncryptOptions,
        now_ms: u64,
    ) -> Result<Staged<Raw<RoomEncryptedEventContent>>, EncryptError> {
        let key = outbound_key(room_id, options.expiry.map(|stamp| stamp.class));
        let changes = self.changes_of_holders(&key);
        if !changes.is_empty() {
            return Err(EncryptError::IdentityChanged { changes });
        }
        let said = self
            .outbound
            .get(&key)
            .and_then(|record| record.said.as_ref());
        let view = self.view_to_say(room_id, said);
        let (plaintext, view) = with_view(view, now_ms, |said| {
            plaintext(room_id, event_type, content, options, said)
        })?;
        let record = self
            .outbound
            .get_mut(&key)
            .filter(|record| !record.is_over(now_ms));
        let record = record.ok_or(EncryptError::RoomKeyNotShared)?;
        let (index, session_id) = (record.session.message_index(), record.session.session_id());
        let message = record.session.encrypt(plaintext.as_slice());
        if view.is_some() {
            record.said = view;
        }
        self.save_outbound(&key)?;

        let inbound_key = InboundKey::new(&self.user_id.clone(), &session_id);
        let deadline_ms = options
            .expiry
            .map(|stamp| now_ms.saturating_add(stamp.class.as_ms()));
        self.save_seen(
            &inbound_key,
            index,
            Seen {
                event_id: None,
                sent_ms: now_ms,
                deadline_ms,
                target: None,
            },
        )?;

        let mut outer = object(json!({
            "algorithm": "m.megolm.v1.aes-sha2",
            "sender_key": self.account.curve25519(),
            "device_id": self.device_id,
            "session_id": session_id,
            "ciphertext": message.to_base64(),
        }))?;
        if let Some(relation) = content
            .get("m.relates_to")
            .filter(|_| !options.hide_relation)
        {
            outer.insert("m.relates_to".to_owned(), relation.clone());
        }
        if let Some(stamp) = options.expiry {
            stamp.write_outer(&mut outer);
        }
        let outer = into_raw(outer)?;
        Ok(self.stage(outer))
    }
}

/// A plaintext with what we are told of the room, and that which it says; without it where there is no room for it.
fn with_view<T>(
    view: Option<View>,
    now_ms: u64,
    plaintext: impl Fn(Option<&SaidView>) -> Result<T, EncryptError>,
) -> Result<(T, Option<View>), EncryptError> {
    let said = view.map(|view| SaidView {
        view,
        at_ms: now_ms,
    });
    match plaintext(said.as_ref()) {
        Err(EncryptError::TooLarge { .. }) if said.is_some() => Ok((plaintext(None)?, None)),
        made => Ok((made?, said.map(|said| said.view))),
    }
}

fn plaintext(
    room_id: &RoomId,
    event_type: &str,
    content: &JsonObject,
    options: EncryptOptions,
    view: Option<&SaidView>,
) -> Result<zeroize::Zeroizing<Vec<u8>>, EncryptError> {
    let mut content = content.clone();
    content.remove(crate::expiry::EXPIRY_FIELD);
    if let Some(stamp) = options.expiry {
        stamp.write_inner(&mut content);
    }
    let text = to_json(&MegolmPlaintext {
        event_type,
        content: &content,
        room_id,
        view,
    });
    content.values_mut().for_each(wipe);
    let text = text.map_err(|_| EncryptError::NotAnObject)?;
    let text = text.expose();
    if text.len() > PLAINTEXT_BYTES_MAX {
        return Err(EncryptError::TooLarge {
            bytes: text.len(),
            bytes_max: PLAINTEXT_BYTES_MAX,
        });
    }
    // White space after a JSON text means nothing to any reader.
    let padded = PADDED_BYTES
        .into_iter()
        .find(|size| *size >= text.len())
        .unwrap_or(PLAINTEXT_BYTES_MAX);
    // Of its size from the start, since a buffer that grows leaves copies behind.
    let mut plaintext = zeroize::Zeroizing::new(Vec::with_capacity(padded));
    plaintext.extend_from_slice(text);
    plaintext.resize(padded, b' ');
    Ok(plaintext)
}

#[cfg(test)]
mod tests {
    use ruma::room_id;

    use super::*;

    fn padded_length(body_bytes: usize) -> usize {
        let content = JsonObject::from_iter([("body".to_owned(), "x".repeat(body_bytes).into())]);
        plaintext(
            room_id!("!r:a.example"),
            "m.room.message",
            &content,
            EncryptOptions::default(),
            None,
        )
        .unwrap()
        .len()
    }

    #[test]
    fn plaintexts_have_few_lengths() {
        assert_eq!(padded_length(1), 256);
        assert_eq!(padded_length(150), 256);
        assert_eq!(padded_length(300), 1024);
        assert_eq!(padded_length(41 * 1024), PLAINTEXT_BYTES_MAX);
    }

    #[test]
    fn what_would_not_fit_an_event_is_refused() {
        let content =
            JsonObject::from_iter([("body".to_owned(), "x".repeat(PLAINTEXT_BYTES_MAX).into())]);
        let refused = plaintext(
            room_id!("!r:a.example"),
            "m.room.message",
            &content,
            EncryptOptions::default(),
            None,
        );
        assert!(matches!(refused, Err(EncryptError::TooLarge { .. })));
        // With the envelope of an event around it, the largest that passes fits 65536 bytes.
        const { assert!(PLAINTEXT_BYTES_MAX.div_ceil(3) * 4 < 62 * 1024) };
    }
}
