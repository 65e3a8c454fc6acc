//! An event of a room, in the shape that rules, state resolution and projections read.
//!
//! Invariant: a [`Pdu`] says what an event claims, not that the claim holds; proof is carried by the types of
//! [`crate::signed`] and by verdicts of [`crate::check`]. It is shared as `Arc<Pdu>` and never changed once shared.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#pdus>.

use ruma::{
    EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId,
    events::TimelineEventType, room_version_rules::RoomVersionRules, state_res::Event,
};
use serde::Deserialize;
use serde_json::value::RawValue as RawJsonValue;

use crate::reason::Reason;

/// The name of the format check in a [`Reason`].
pub(crate) const FORMAT: &str = "event format";

/// An event of a room version whose event IDs are hashes (3 and above).
#[derive(Debug, Clone)]
pub struct Pdu {
    /// The reference hash, as an identifier.
    pub event_id: OwnedEventId,
    /// The room; for the create event of a version whose room ID is its hash, derived from it.
    pub room_id: OwnedRoomId,
    /// Whether the event itself names the room. Only the create event of such a version may not.
    pub room_id_in_event: bool,
    /// Who sent it.
    pub sender: OwnedUserId,
    /// The `type`.
    pub kind: TimelineEventType,
    /// The state key, present for state events alone.
    pub state_key: Option<String>,
    /// When the sender's server says that it was sent, in milliseconds. Not to be trusted.
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
    /// One more than the greatest depth of its predecessors, as the sender's server says.
    pub depth: u64,
    /// The forward extremities that the sender's server knew.
    pub prev_events: Vec<OwnedEventId>,
    /// The state that, so the sender's server says, allowed it.
    pub auth_events: Vec<OwnedEventId>,
    /// The content, an object.
    pub content: Box<RawJsonValue>,
    /// For `m.room.redaction`: its target, wherever the room version keeps it. `None` if that is not an event ID.
    pub redacts: Option<OwnedEventId>,
    /// Whether it failed checks 4 or 5 on receipt. Rejected events take no part in authorisation.
    pub rejected: bool,
}

impl Pdu {
    /// Reads an event in federation format from bytes that passed our checks once, such as those of our store.
    ///
    /// `event_id` is taken on trust. `hashes`, `signatures`, `unsigned` and unknown keys are skipped. Fails with a
    /// [`Reason`] if a key that every event has is missing or of another type.
    pub fn from_json(
        event_id: OwnedEventId,
        json: &[u8],
        rules: &RoomVersionRules,
    ) -> Result<Self, Reason> {
        let wire: Wire<'_> =
            serde_json::from_slice(json).map_err(|error| Reason::new(FORMAT, error.to_string()))?;
        wire.into_pdu(event_id, rules)
    }

    /// As [`Pdu::from_json`], from the two halves in which [`crate::skeleton`] keeps an event.
    pub fn from_stored(
        event_id: OwnedEventId,
        skeleton: &[u8],
        content_at: Option<(u32, u32)>,
        body: Option<&[u8]>,
        rules: &RoomVersionRules,
    ) -> Result<Self, Reason> {
        let refuse = |error: serde_json::Error| Reason::new(FORMAT, error.to_string());
        let Some(body) = body.filter(|body| !body.is_empty()) else {
            return Self::from_json(event_id, skeleton, rules);
        };
        if content_at.is_none() {
            return Self::from_json(event_id, body, rules);
        }
        // The content is all that differs, so nothing need be joined to be read.
        let mut wire: Wire<'_> = serde_json::from_slice(skeleton).map_err(refuse)?;
        wire.content = serde_json::from_slice(body).map_err(refuse)?;
        wire.into_pdu(event_id, rules)
    }

    /// As [`Pdu::from_json`], from an object of canonical values.
    pub fn from_canonical(
        event_id: OwnedEventId,
        object: &ruma::CanonicalJsonObject,
        rules: &RoomVersionRules,
    ) -> Result<Self, Reason> {
        let json = crate::json::to_canonical_bytes(object)
            .map_err(|error| Reason::new(FORMAT, error.to_string()))?;
        Self::from_json(event_id, &json, rules)
    }

    /// The same event, marked as rejected.
    #[must_use]
    pub fn into_rejected(mut self) -> Self {
        self.rejected = true;
        self
    }

    /// Whether it is a state event.
    pub fn is_state(&self) -> bool {
        self.state_key.is_some()
    }

    /// Its place in the room's state, if it is a state event.
    pub fn state_place(&self) -> Option<(ruma::events::StateEventType, String)> {
        self.state_key
            .as_ref()
            .map(|key| (self.kind.to_string().into(), key.clone()))
    }
}

/// The keys of an event that are read. Borrows the content.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(default)]
    room_id: Option<OwnedRoomId>,
    sender: OwnedUserId,
    #[serde(rename = "type")]
    kind: TimelineEventType,
    #[serde(default)]
    state_key: Option<String>,
    origin_server_ts: MilliSecondsSinceUnixEpoch,
    depth: u64,
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    #[serde(borrow)]
    content: &'a RawJsonValue,
    #[serde(borrow, default)]
    redacts: Option<&'a RawJsonValue>,
}

impl Wire<'_> {
    fn into_pdu(self, event_id: OwnedEventId, rules: &RoomVersionRules) -> Result<Pdu, Reason> {
        let room_id_in_event = self.room_id.is_some();
        let room_id = match self.room_id {
            Some(room_id) => room_id,
            None if self.kind == TimelineEventType::RoomCreate
                && rules.authorization.room_create_event_id_as_room_id =>
            {
                room_id_of_create(&event_id)?
            }
            None => return Err(Reason::new(FORMAT, "no room_id")),
        };
        let redacts = (self.kind == TimelineEventType::RoomRedaction)
            .then(|| redaction_target(self.content, self.redacts, rules))
            .flatten();
        Ok(Pdu {
            event_id,
            room_id,
            room_id_in_event,
            sender: self.sender,
            kind: self.kind,
            state_key: self.state_key,
            origin_server_ts: self.origin_server_ts,
            depth: self.depth,
            prev_events: self.prev_events,
            auth_events: self.auth_events,
            content: self.content.to_owned(),
            redacts,
            rejected: false,
        })
    }
}

/// The room that the create event `event_id` makes, where the room ID is its hash.
/// <https://spec.matrix.org/v1.19/rooms/v12/#event-format>
pub fn room_id_of_create(event_id: &EventId) -> Result<OwnedRoomId, Reason> {
    OwnedRoomId::try_from(format!("!{}", event_id.as_str().trim_start_matches('$')))
        .map_err(|error| Reason::new(FORMAT, error.to_string()))
}

/// The create event of `room_id`, where the room ID is its hash. `None` for other room IDs.
/// <https://spec.matrix.org/v1.19/rooms/v12/#event-format>
pub fn create_of_room_id(room_id: &RoomId, rules: &RoomVersionRules) -> Option<OwnedEventId> {
    if !rules.authorization.room_create_event_id_as_room_id {
        return None;
    }
    OwnedEventId::try_from(format!("${}", room_id.strip_sigil())).ok()
}

/// The target of a redaction. A target of another shape redacts nothing; it is no ground to refuse the event.
fn redaction_target(
    content: &RawJsonValue,
    top_level: Option<&RawJsonValue>,
    rules: &RoomVersionRules,
) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow, default)]
        redacts: Option<&'a RawJsonValue>,
    }
    let raw = if rules.redaction.content_field_redacts {
        serde_json::from_str::<Content<'_>>(content.get())
            .ok()?
            .redacts
    } else {
        top_level
    };
    serde_json::from_str(raw?.get()).ok()
}

impl Event for Pdu {
    type Id = OwnedEventId;

    fn event_id(&self) -> &OwnedEventId {
        &self.event_id
    }

    // The rules ask whether the event itself names the room.
    fn room_id(&self) -> Option<&RoomId> {
        self.room_id_in_event.then_some(&*self.room_id)
    }

    fn sender(&self) -> &UserId {
        &self.sender
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        self.origin_server_ts
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.kind
    }

    fn content(&self) -> &RawJsonValue {
        &self.content
    }

    fn state_key(&self) -> Option<&str> {
        self.state_key.as_deref()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.prev_events.iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &OwnedEventId> + '_> {
        Box::new(self.auth_events.iter())
    }

    fn redacts(&self) -> Option<&OwnedEventId> {
        self.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.rejected
    }
}

#[cfg(test)]
mod tests;
