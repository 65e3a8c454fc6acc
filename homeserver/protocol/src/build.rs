//! Making events of our own: from a template and the tip of the room to a hashed, signed event with its identifier.
//!
//! Invariant: what is built here passes the format check of its room version, so a peer drops none of it. Whether the room
//! allows it is [`crate::check`].
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#signing-events>.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, Int, MilliSecondsSinceUnixEpoch, OwnedEventId,
    OwnedRoomId, OwnedUserId, ServerName, UserId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
    signatures::{Ed25519KeyPair, hash_and_sign_event},
    state_res::auth_types_for_event,
};
use serde_json::value::RawValue as RawJsonValue;

use crate::{
    json::{self, JsonError},
    limits::{DEPTH_MAX, PDU_BYTES_MAX},
    pdu::{Pdu, room_id_of_create},
    reason::Reason,
    signed::{Edges, SignedPdu, check_format, event_id_of},
};

/// What a user wants to send.
#[derive(Debug, Clone)]
pub struct EventTemplate {
    /// The room; `None` for the create event of a version whose room ID is the hash of that event.
    pub room_id: Option<OwnedRoomId>,
    /// The sender, a user of ours.
    pub sender: OwnedUserId,
    /// The `type`.
    pub kind: TimelineEventType,
    /// The state key, for state events.
    pub state_key: Option<String>,
    /// The content, an object. Need not be in canonical form.
    pub content: Box<RawJsonValue>,
    /// The target of a redaction; put where the room version wants it.
    pub redacts: Option<OwnedEventId>,
    /// The time of sending, in milliseconds.
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
}

/// Where in the room's graph the event goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// The forward extremities, at most `PREV_EVENTS_MAX`; empty for the create event.
    pub prev_events: Vec<OwnedEventId>,
    /// The events that hold the places that [`auth_types`] names, where the state has them.
    pub auth_events: Vec<OwnedEventId>,
    /// The depth of the new event: see [`depth_after`].
    pub depth: u64,
}

/// Why an event could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Larger than 65,536 bytes (`M_TOO_LARGE`).
    #[error("the event is larger than 65536 bytes")]
    TooLarge,
    /// The content cannot be canonical JSON (`M_BAD_JSON`).
    #[error("the content is not canonical JSON: {0}")]
    Content(#[from] JsonError),
    /// The event breaks the format of the room version, for example by an overlong state key (`M_BAD_JSON`).
    #[error("the event is malformed: {0}")]
    Format(#[from] Reason),
}

/// One more than the greatest of the predecessors' depths, and at most what canonical JSON can hold.
pub fn depth_after(depths: impl IntoIterator<Item = u64>) -> u64 {
    depths
        .into_iter()
        .max()
        .unwrap_or(0)
        .saturating_add(1)
        .min(DEPTH_MAX)
}

/// The places in the state whose events authorise an event: what `auth_events` is to hold, where present.
///
/// Fails if the content of a membership event is malformed (`M_BAD_JSON`).
pub fn auth_types(
    kind: &TimelineEventType,
    sender: &UserId,
    state_key: Option<&str>,
    content: &RawJsonValue,
    rules: &RoomVersionRules,
) -> Result<Vec<(StateEventType, String)>, Reason> {
    auth_types_for_event(kind, sender, state_key, content, &rules.authorization)
        .map_err(|detail| Reason::new("auth events selection", detail))
}

/// Builds, hashes and signs an event with the key of `server_name`.
pub fn build(
    template: EventTemplate,
    tip: Tip,
    rules: &RoomVersionRules,
    server_name: &ServerName,
    key_pair: &Ed25519KeyPair,
) -> Result<SignedPdu, BuildError> {
    let mut object = unsigned_object(&template, &tip, rules)?;
    hash_and_sign_event(
        server_name.as_str(),
        key_pair,
        &mut object,
        &rules.redaction,
    )
    .map_err(|error| match error {
        ruma::signatures::JsonError::PduTooLarge => BuildError::TooLarge,
        error => Reason::new("event signatures", error.to_string()).into(),
    })?;
    let json = json::to_canonical_bytes(&object)?;
    if json.len() > PDU_BYTES_MAX {
        return Err(BuildError::TooLarge);
    }
    check_format(&object, json.len(), rules, Edges::Bounded)?;
    let event_id = event_id_of(&object, rules)?;
    let content = content_of(&json)?;

    let room_id_in_event = template.room_id.is_some();
    let room_id = match template.room_id {
        Some(room_id) => room_id,
        None => room_id_of_create(&event_id)?,
    };
    let pdu = Pdu {
        event_id,
        room_id,
        room_id_in_event,
        sender: template.sender,
        kind: template.kind,
        state_key: template.state_key,
        origin_server_ts: template.origin_server_ts,
        depth: tip.depth,
        prev_events: tip.prev_events,
        auth_events: tip.auth_events,
        content,
        redacts: template.redacts,
        rejected: false,
    };
    Ok(SignedPdu::built(pdu, object, json))
}

/// The object before hashing.
fn unsigned_object(
    template: &EventTemplate,
    tip: &Tip,
    rules: &RoomVersionRules,
) -> Result<CanonicalJsonObject, BuildError> {
    let mut content = json::parse_object(template.content.get().as_bytes(), PDU_BYTES_MAX)
        .map_err(|error| {
            if matches!(error, JsonError::TooLarge { .. }) {
                BuildError::TooLarge
            } else {
                error.into()
            }
        })?;
    let ids = |ids: &[OwnedEventId]| {
        ids.iter()
            .map(|id| id.as_str().into())
            .collect::<Vec<CanonicalJsonValue>>()
    };
    let depth = Int::try_from(tip.depth).map_err(|_| JsonError::Number)?;
    let timestamp = Int::from(template.origin_server_ts.get());

    let mut object = CanonicalJsonObject::new();
    let mut put = |key: &str, value: CanonicalJsonValue| object.insert(key.to_owned(), value);
    if let Some(room_id) = &template.room_id {
        put("room_id", room_id.as_str().into());
    }
    if let Some(state_key) = &template.state_key {
        put("state_key", state_key.as_str().into());
    }
    if let Some(target) = &template.redacts {
        if rules.redaction.content_field_redacts {
            content.insert("redacts".to_owned(), target.as_str().into());
        } else {
            put("redacts", target.as_str().into());
        }
    }
    put("sender", template.sender.as_str().into());
    put("type", template.kind.to_string().into());
    put("origin_server_ts", CanonicalJsonValue::Integer(timestamp));
    put("depth", CanonicalJsonValue::Integer(depth));
    put(
        "prev_events",
        CanonicalJsonValue::Array(ids(&tip.prev_events)),
    );
    put(
        "auth_events",
        CanonicalJsonValue::Array(ids(&tip.auth_events)),
    );
    put("content", CanonicalJsonValue::Object(content));
    Ok(object)
}

/// The content as it lies in the event's canonical bytes.
fn content_of(event: &[u8]) -> Result<Box<RawJsonValue>, BuildError> {
    let at = json::top_level(event)
        .find(|(key, _)| *key == b"content")
        .map(|(_, at)| at)
        .ok_or(JsonError::Syntax)?;
    Ok(serde_json::from_slice(&event[at]).map_err(|_| JsonError::Syntax)?)
}

#[cfg(test)]
mod tests;
