//! The one projection of events: every byte of an event that leaves the server is written here, in
//! client format or in federation format.
//!
//! Invariant: content is written only while [`is_shown`] holds: after the deadline, after a
//! redaction, or without a body, it is the redacted form that leaves. Nobody else decides this.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-event-format> and
//! <https://spec.matrix.org/v1.19/client-server-api/#redactions>.

use std::{borrow::Cow, sync::Arc};

use passeur_protocol::skeleton;
use ruma::{MilliSecondsSinceUnixEpoch, events::TimelineEventType};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use super::json::JsonWriter;
use crate::store::Event;

/// What `unsigned` says of an event's deadline.
pub const EXPIRY_KEY: &str = "org.passeur.expiry";

/// What is told about an event to one reader, beside the event.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// The transaction id with which the reader's own device sent it.
    pub transaction_id: Option<String>,
    /// The state event that it replaced.
    pub replaced: Option<Arc<Event>>,
    /// Whether the reader may not see what it replaced, but only that.
    pub replaced_hidden: bool,
    /// Whether the reader is shown its redacted form alone.
    pub withheld: bool,
    /// The redaction that removed its body.
    pub redaction: Option<Arc<Event>>,
    /// The reader's membership just after it.
    pub membership: Option<&'static str>,
    /// The bundled aggregations: a JSON object.
    pub relations: Option<Box<RawJsonValue>>,
}

/// Who reads, and when.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The time, in ms since the epoch.
    pub now_ms: i64,
    /// Whether the room is named in each event: not in a sync, which names it around them.
    pub with_room: bool,
}

/// Whether the body of an event may be shown: the one decision that knows the clock.
pub fn is_shown(event: &Event, now_ms: i64) -> bool {
    event.has_body() && event.redacted_by.is_none() && !is_expired(event, now_ms)
}

/// Whether there is anything to read in an event: it was not redacted, and has not expired.
pub fn is_readable(event: &Event, now_ms: i64) -> bool {
    event.redacted_by.is_none() && !is_expired(event, now_ms)
}

fn is_expired(event: &Event, now_ms: i64) -> bool {
    event.deadline.is_some_and(|deadline| deadline <= now_ms)
}

/// The content as it may be shown now: a JSON object.
pub fn content(event: &Event, now_ms: i64) -> Cow<'_, str> {
    // Without a body the event is held in its redacted form already.
    if !event.has_body() || is_shown(event, now_ms) {
        return Cow::Borrowed(event.pdu.content.get());
    }
    Cow::Owned(redacted_content(event))
}

/// What redaction leaves of the content: a JSON object.
fn redacted_content(event: &Event) -> String {
    #[derive(Deserialize)]
    struct Redacted<'a> {
        #[serde(borrow)]
        content: &'a RawJsonValue,
    }
    serde_json::from_slice::<Redacted<'_>>(&event.skeleton)
        .map_or_else(|_| "{}".to_owned(), |event| event.content.get().to_owned())
}

/// Writes an event in client format, as a value.
pub fn write_client_event(out: &mut JsonWriter, event: &Event, extras: &Extras, view: View) {
    let pdu = &event.pdu;
    out.open();
    if extras.withheld {
        out.key("content").raw(redacted_content(event).as_bytes());
    } else {
        write_content(out, event, view.now_ms);
    }
    out.key("event_id").string(pdu.event_id.as_str());
    out.key("origin_server_ts")
        .number(millis(pdu.origin_server_ts));
    if let Some(target) = &pdu.redacts {
        // Clients of either side of room version 11 find it: here and in the content.
        out.key("redacts").string(target.as_str());
    }
    if view.with_room {
        out.key("room_id").string(pdu.room_id.as_str());
    }
    out.key("sender").string(pdu.sender.as_str());
    if let Some(state_key) = &pdu.state_key {
        out.key("state_key").string(state_key);
    }
    out.key("type").string(&pdu.kind.to_string());
    out.key("unsigned").open();
    write_unsigned(out, event, extras, view);
    out.close().close();
}

/// An event in client format, with its room: the bytes of a JSON object.
pub fn client_event(event: &Event, extras: &Extras, view: View) -> Vec<u8> {
    let mut out = JsonWriter::with_capacity(event.skeleton.len() + pdu_len(event));
    write_client_event(&mut out, event, extras, view);
    out.into_bytes()
}

/// Writes an event as stripped state: no id, no time.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>
pub fn write_stripped_event(out: &mut JsonWriter, event: &Event, now_ms: i64) {
    let pdu = &event.pdu;
    out.open();
    write_content(out, event, now_ms);
    out.key("sender").string(pdu.sender.as_str());
    out.key("state_key")
        .string(pdu.state_key.as_deref().unwrap_or_default());
    out.key("type").string(&pdu.kind.to_string());
    out.close();
}

/// An event in federation format: the whole, or the stub that redaction leaves.
pub fn federation_event(event: &Event, now_ms: i64) -> Vec<u8> {
    match event.body() {
        Some(body) if is_shown(event, now_ms) => {
            skeleton::join(&event.skeleton, event.content_at, body)
        }
        _ => event.skeleton.to_vec(),
    }
}

fn write_content(out: &mut JsonWriter, event: &Event, now_ms: i64) {
    let content = content(event, now_ms);
    let out = out.key("content");
    match &event.pdu.redacts {
        Some(target)
            if event.pdu.kind == TimelineEventType::RoomRedaction && !names_target(&content) =>
        {
            out.open().key("redacts").string(target.as_str());
            let rest = content.trim_start().trim_start_matches('{').trim_start();
            let separator: &[u8] = if rest.starts_with('}') { b"" } else { b"," };
            out.raw(separator).raw(rest.as_bytes());
        }
        _ => {
            out.raw(content.as_bytes());
        }
    }
}

/// Whether the content of a redaction says what it redacts, as it does from room version 11 on.
fn names_target(content: &str) -> bool {
    #[derive(Deserialize)]
    struct Content {
        redacts: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Content>(content).is_ok_and(|content| content.redacts.is_some())
}

fn write_unsigned(out: &mut JsonWriter, event: &Event, extras: &Extras, view: View) {
    let age = view
        .now_ms
        .saturating_sub(millis(event.pdu.origin_server_ts));
    out.key("age").number(age.max(0));
    if let Some(membership) = extras.membership {
        out.key("membership").string(membership);
    }
    if let Some(transaction_id) = &extras.transaction_id {
        out.key("transaction_id").string(transaction_id);
    }
    if let Some(replaced) = &extras.replaced {
        if !extras.replaced_hidden {
            out.key("prev_content")
                .raw(content(replaced, view.now_ms).as_bytes());
            out.key("prev_sender").string(replaced.pdu.sender.as_str());
        }
        out.key("replaces_state")
            .string(replaced.pdu.event_id.as_str());
    }
    if let Some(redaction) = &extras.redaction {
        out.key("redacted_because");
        write_client_event(out, redaction, &Extras::default(), view);
    } else if let Some(deadline) = event.deadline {
        if deadline <= view.now_ms {
            out.key("redacted_because");
            write_expiry_redaction(out, event, deadline);
        } else if is_shown(event, view.now_ms) {
            out.key(EXPIRY_KEY)
                .open()
                .key("deadline")
                .number(deadline)
                .close();
        }
    }
    if let Some(relations) = &extras.relations {
        out.key("m.relations").raw(relations.get().as_bytes());
    }
}

/// Writes a redaction that nobody sent, as a value: without one, clients take a stub for a message
/// that they cannot decrypt, or keep showing one that they have.
pub fn write_expiry_redaction(out: &mut JsonWriter, event: &Event, deadline: i64) {
    let pdu = &event.pdu;
    let id = pdu.event_id.as_str();
    out.open();
    out.key("content").open().key("redacts").string(id);
    out.key("reason").string("expired").close();
    out.key("event_id").string(&format!("{id}.expired"));
    out.key("origin_server_ts").number(deadline);
    out.key("redacts").string(id);
    out.key("room_id").string(pdu.room_id.as_str());
    out.key("sender").string(pdu.sender.as_str());
    out.key("type").string("m.room.redaction");
    out.key("unsigned").open().key(EXPIRY_KEY).open();
    out.key("deadline").number(deadline).close().close().close();
}

fn millis(time: MilliSecondsSinceUnixEpoch) -> i64 {
    i64::from(time.get())
}

fn pdu_len(event: &Event) -> usize {
    event.pdu.content.get().len() + 256
}
