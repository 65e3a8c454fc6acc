//! Events as a program gets them.
//!
//! Invariant: an event always says how it was protected, and its content can be printed neither on purpose nor by accident:
//! [`EventContent`] has no `Debug`, and [`Event`]'s shows its type alone. Texts are overwritten when the content is dropped.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#types-of-room-events>

use std::fmt;

use ruma::{
    OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, serde::JsonObject,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    crypto::{DecryptedEvent, PlaintextVerdict, Relation, Trust, Undecryptable, wipe},
    expiry::MessageExpiry,
};

/// How an event was protected on its way here.
#[derive(Clone, Debug)]
pub enum Protection {
    /// It was encrypted, and this is known of the device that did it.
    Encrypted(Encrypted),
    /// It came in the clear: the server may have written it.
    Clear(PlaintextVerdict),
    /// It is encrypted and cannot be read; its content is the ciphertext.
    Undecryptable(Undecryptable),
    /// Its content is gone: redacted by somebody, or expired.
    Gone,
}

/// What is known of an event that was decrypted.
#[derive(Clone, Debug)]
pub struct Encrypted {
    /// How well the sending device is known.
    pub trust: Trust,
    /// The sending device.
    pub device: Option<OwnedDeviceId>,
    /// Where the event's relation comes from.
    pub relation: Relation,
    /// When the content must be gone.
    pub expiry: Option<MessageExpiry>,
    /// Whether this very event was decrypted before. Show it as often as it comes, but act on it once only.
    pub seen_before: bool,
    /// So many messages that its sender's device encrypted directly before it have not been seen here: a server may withhold them.
    pub missing_before: u32,
}

/// A room event.
#[derive(Clone)]
pub struct Event {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The event's ID.
    pub event_id: OwnedEventId,
    /// Who sent it, as far as [`Event::protection`] proves it.
    pub sender: OwnedUserId,
    /// When its server says it was sent, in milliseconds since the Unix epoch.
    pub origin_server_ts_ms: u64,
    /// The type, the inner one of an event that was decrypted.
    pub event_type: String,
    /// Set on state events.
    pub state_key: Option<String>,
    /// How it was protected.
    pub protection: Protection,
    /// The transaction in which this device sent it.
    pub transaction_id: Option<OwnedTransactionId>,
    /// The content, the inner one of an event that was decrypted.
    pub content: EventContent,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

/// An event's content. It has no `Debug` and no `Display`, so that no log line can show it by accident.
#[derive(Clone)]
pub struct EventContent(JsonObject);

impl EventContent {
    /// Takes content over.
    #[must_use]
    pub const fn new(content: JsonObject) -> Self {
        Self(content)
    }

    /// A field of the content.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// A text field of the content.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.get(field)?.as_str()
    }

    /// The content as a type, for instance one of ruma's.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(&Value::Object(self.0.clone())).ok()
    }

    /// All of it.
    pub(crate) const fn object(&self) -> &JsonObject {
        &self.0
    }

    /// Whether there is nothing in it, as in a redacted event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for EventContent {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

impl Event {
    /// The text of a message. A state event is none, whatever type it claims.
    #[must_use]
    pub fn body(&self) -> Option<&str> {
        (self.event_type == "m.room.message" && self.state_key.is_none())
            .then(|| self.content.text("body"))
            .flatten()
    }

    /// Takes the content away if its time is over.
    pub(crate) fn hide_if_expired(&mut self, now_ms: u64) {
        let expired = matches!(&self.protection, Protection::Encrypted(encrypted)
            if encrypted.expiry.is_some_and(|expiry| expiry.deadline_ms <= now_ms));
        if expired {
            self.protection = Protection::Undecryptable(Undecryptable::Expired);
            self.content = EventContent::new(JsonObject::new());
        }
    }

    /// Whether it was encrypted by a device that may be taken for the sender's.
    #[must_use]
    pub const fn is_authentic(&self) -> bool {
        match &self.protection {
            Protection::Encrypted(encrypted) => encrypted.trust.proves_sender(),
            Protection::Clear(_) | Protection::Undecryptable(_) | Protection::Gone => false,
        }
    }

    /// Whether this very event was decrypted before: a program that acts on events has acted on it.
    #[must_use]
    pub const fn was_seen_before(&self) -> bool {
        matches!(&self.protection, Protection::Encrypted(encrypted) if encrypted.seen_before)
    }

    /// The event that this one replaces, and the text that replaces it.
    #[must_use]
    pub fn replacement(&self) -> Option<(&str, &str)> {
        let (target, _) = self.relation("m.replace")?;
        Some((
            target,
            self.content.get("m.new_content")?.get("body")?.as_str()?,
        ))
    }

    /// The event that this one is a reaction to, and the key.
    #[must_use]
    pub fn reaction(&self) -> Option<(&str, &str)> {
        let (target, relation) = self.relation("m.annotation")?;
        (self.event_type == "m.reaction").then_some((target, relation.get("key")?.as_str()?))
    }

    /// The event with which the thread begins that this one stands in.
    #[must_use]
    pub fn thread_root(&self) -> Option<&str> {
        self.relation("m.thread").map(|(root, _)| root)
    }

    /// The event that this one answers. In a thread, what is named only for clients that know no threads is none.
    #[must_use]
    pub fn in_reply_to(&self) -> Option<&str> {
        let relation = self
            .content
            .get("m.relates_to")
            .filter(|_| self.state_key.is_none())?;
        let falls_back = relation.get("is_falling_back").and_then(Value::as_bool) == Some(true);
        let is_thread = relation.get("rel_type").and_then(Value::as_str) == Some("m.thread");
        let answered = relation.get("m.in_reply_to")?.get("event_id")?;
        answered.as_str().filter(|_| !(is_thread && falls_back))
    }

    fn relation(&self, kind: &str) -> Option<(&str, &Value)> {
        let relation = self
            .content
            .get("m.relates_to")
            .filter(|_| self.state_key.is_none())?;
        (relation.get("rel_type")?.as_str()? == kind)
            .then_some((relation.get("event_id")?.as_str()?, relation))
    }
}

/// The parts of a timeline event that are read before anything is decrypted.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) event_id: OwnedEventId,
    pub(crate) sender: OwnedUserId,
    #[serde(default)]
    pub(crate) origin_server_ts: u64,
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    #[serde(default)]
    pub(crate) state_key: Option<String>,
    #[serde(default)]
    pub(crate) content: JsonObject,
    #[serde(default)]
    unsigned: Unsigned,
}

#[derive(Debug, Default, Deserialize)]
struct Unsigned {
    #[serde(default)]
    transaction_id: Option<OwnedTransactionId>,
    #[serde(default)]
    redacted_because: Option<Box<RawValue>>,
}

impl Envelope {
    /// Whether the content is gone: an encrypted event without content is a stub even where nothing says so.
    pub(crate) fn is_gone(&self) -> bool {
        self.unsigned.redacted_because.is_some()
            || (self.event_type == "m.room.encrypted" && self.content.is_empty())
    }

    /// The event as it came.
    pub(crate) fn into_event(self, room_id: OwnedRoomId, protection: Protection) -> Event {
        Event {
            room_id,
            event_id: self.event_id,
            sender: self.sender,
            origin_server_ts_ms: self.origin_server_ts,
            event_type: self.event_type,
            state_key: self.state_key,
            protection,
            transaction_id: self.unsigned.transaction_id,
            content: EventContent::new(self.content),
        }
    }

    /// The event that was inside.
    pub(crate) fn into_decrypted(self, decrypted: DecryptedEvent) -> Event {
        Event {
            room_id: decrypted.room_id,
            event_id: decrypted.event_id,
            sender: decrypted.sender,
            origin_server_ts_ms: self.origin_server_ts,
            event_type: decrypted.event_type,
            state_key: None,
            protection: Protection::Encrypted(Encrypted {
                trust: decrypted.trust,
                device: decrypted.sender_device,
                relation: decrypted.relation,
                expiry: decrypted.expiry,
                seen_before: decrypted.seen_before,
                missing_before: decrypted.missing_before,
            }),
            transaction_id: self.unsigned.transaction_id,
            content: EventContent::new(decrypted.content),
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::owned_room_id;

    use super::*;

    fn event(json: &str) -> Event {
        let envelope: Envelope = serde_json::from_str(json).unwrap();
        let protection = if envelope.is_gone() {
            Protection::Gone
        } else {
            Protection::Clear(PlaintextVerdict::Fine)
        };
        envelope.into_event(owned_room_id!("!r:one"), protection)
    }

    #[test]
    fn relations_are_read() {
        let edit = event(
            r#"{"event_id":"$e","sender":"@a:one","type":"m.room.message","content":{"body":"* new",
            "m.new_content":{"body":"new"},"m.relates_to":{"rel_type":"m.replace","event_id":"$old"}}}"#,
        );
        assert_eq!(edit.replacement(), Some(("$old", "new")));
        assert_eq!(edit.reaction(), None);
        let reaction = event(
            r#"{"event_id":"$e","sender":"@a:one","type":"m.reaction","content":{
            "m.relates_to":{"rel_type":"m.annotation","event_id":"$old","key":"+"}}}"#,
        );
        assert_eq!(reaction.reaction(), Some(("$old", "+")));
        assert_eq!(
            (reaction.in_reply_to(), reaction.thread_root()),
            (None, None)
        );
    }

    #[test]
    fn an_answer_is_told_from_what_stands_in_for_one_in_a_thread() {
        let said = |relation: &str| {
            let relation = format!(
                r#"{{"event_id":"$e","sender":"@a:one","type":"m.room.message","content":{{"body":"b","m.relates_to":{{{relation}}}}}}}"#
            );
            let event = event(&relation);
            let text = |text: Option<&str>| text.map(str::to_owned);
            (text(event.in_reply_to()), text(event.thread_root()))
        };
        let answer = r#""m.in_reply_to":{"event_id":"$old"}"#;
        let thread = r#""rel_type":"m.thread","event_id":"$root""#;
        let (old, root) = (Some("$old".to_owned()), Some("$root".to_owned()));
        assert_eq!(said(answer), (old.clone(), None));
        assert_eq!(said(thread), (None, root.clone()));
        assert_eq!(said(&format!("{thread},{answer}")), (old, root.clone()));
        let stand_in = format!(r#"{thread},{answer},"is_falling_back":true"#);
        assert_eq!(said(&stand_in), (None, root));
    }

    #[test]
    fn stubs_and_redacted_events_are_gone() {
        let stub = r#"{"event_id":"$e","sender":"@a:one","type":"m.room.encrypted","content":{}}"#;
        assert!(matches!(event(stub).protection, Protection::Gone));
        let redacted = r#"{"event_id":"$e","sender":"@a:one","type":"m.room.message","content":{},"unsigned":{"redacted_because":{}}}"#;
        assert!(matches!(event(redacted).protection, Protection::Gone));
    }

    #[test]
    fn printing_an_event_shows_no_content_and_nobody() {
        let printed = format!(
            "{:?}",
            event(
                r#"{"event_id":"$e","sender":"@a:one","type":"m.room.message","content":{"body":"secret"}}"#
            )
        );
        assert_eq!(printed, r#"Event { event_type: "m.room.message", .. }"#);
    }
}
