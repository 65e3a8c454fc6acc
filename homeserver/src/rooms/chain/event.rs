//! What the bytes of an event say, as rooms need it.
//!
//! Invariant: nothing here depends on where an event stands or whether it is accepted.

use std::sync::Arc;

use passeur_protocol::{pdu::Pdu, reason::Reason, signed::SignedPdu};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedEventId, UInt, room_version_rules::RoomVersionRules};

use crate::{
    rooms::SendError,
    store::{Body, Event, EventStatus, Membership},
};
/// An event with what its bytes say of it, and no place anywhere.
pub(in crate::rooms) fn bare_event(
    signed: &SignedPdu,
    rules: &RoomVersionRules,
    status: EventStatus,
    received_ts: i64,
) -> Result<Event, SendError> {
    let malformed = |reason: Reason| SendError::Malformed(reason.detail().to_owned());
    let stored = signed.split(rules).map_err(malformed)?;
    // What cites a rejected event is rejected too: the event itself says so wherever it is held.
    let pdu = match status {
        EventStatus::Rejected => Arc::new(Pdu::clone(signed.pdu()).into_rejected()),
        _ => Arc::clone(signed.pdu()),
    };
    Ok(Event {
        pdu,
        received_ts,
        room_order: None,
        position: None,
        state_before: None,
        state_after: None,
        status,
        skeleton: stored.skeleton.into(),
        content_at: stored.content_at,
        body: (!stored.body.is_empty()).then(|| Body::of(&stored.body, signed.pdu())),
        redacted_by: None,
        deadline: None,
        destroy_at: None,
        expiry_class: None,
    })
}

/// The membership that a member event gives.
pub(in crate::rooms) fn membership_of(pdu: &Pdu) -> Membership {
    #[derive(serde::Deserialize)]
    struct Content {
        membership: Membership,
    }
    serde_json::from_str::<Content>(pdu.content.get())
        .map_or(Membership::Leave, |content| content.membership)
}

/// `m.relates_to`: the parent and how.
pub(in crate::rooms) fn relation_of(pdu: &Pdu) -> Option<(OwnedEventId, String)> {
    #[derive(serde::Deserialize)]
    struct Content {
        #[serde(rename = "m.relates_to")]
        relates_to: Relation,
    }
    #[derive(serde::Deserialize)]
    struct Relation {
        rel_type: String,
        event_id: OwnedEventId,
    }
    let content: Content = serde_json::from_str(pdu.content.get()).ok()?;
    Some((content.relates_to.event_id, content.relates_to.rel_type))
}

/// A time in ms as the protocol has it.
pub(in crate::rooms) fn timestamp_of(ms: i64) -> MilliSecondsSinceUnixEpoch {
    let ms = u64::try_from(ms)
        .ok()
        .and_then(|ms| UInt::try_from(ms).ok());
    MilliSecondsSinceUnixEpoch(ms.unwrap_or_default())
}
