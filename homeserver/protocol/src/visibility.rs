//! Who may see an event: the history visibility of the room, applied to users and to servers.
//!
//! Invariant: a decision looks at the state before the event (and, for the two kinds of event that change what is being
//! asked, after it), never at the visibility as it is now.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility>.

use ruma::{
    ServerName, UserId,
    events::{
        TimelineEventType,
        room::{history_visibility::HistoryVisibility, member::MembershipState},
    },
};
use serde::Deserialize;

use crate::pdu::Pdu;

/// The visibility that a room's `m.room.history_visibility` event sets: `shared` if there is none, or its value is unknown.
pub fn visibility_of(event: Option<&Pdu>) -> HistoryVisibility {
    #[derive(Deserialize)]
    struct Content {
        history_visibility: HistoryVisibility,
    }
    let content = event.and_then(|event| serde_json::from_str::<Content>(event.content.get()).ok());
    match content.map(|content| content.history_visibility) {
        Some(
            known @ (HistoryVisibility::WorldReadable
            | HistoryVisibility::Shared
            | HistoryVisibility::Invited
            | HistoryVisibility::Joined),
        ) => known,
        _ => HistoryVisibility::Shared,
    }
}

/// The membership that an `m.room.member` event sets: `leave` if there is none, or it is malformed.
pub fn membership_of(event: Option<&Pdu>) -> MembershipState {
    #[derive(Deserialize)]
    struct Content {
        membership: MembershipState,
    }
    let content = event.and_then(|event| serde_json::from_str::<Content>(event.content.get()).ok());
    content.map_or(MembershipState::Leave, |content| content.membership)
}

/// Whether `user_id` may see `event`.
///
/// * `visibility`: of the room, in the state before the event.
/// * `membership`: of the user, in the state before the event.
/// * `joined_after`: whether the user joined at any time after the event. True of everyone who is joined now and was not
///   then.
pub fn user_may_see(
    event: &Pdu,
    user_id: &UserId,
    visibility: &HistoryVisibility,
    membership: &MembershipState,
    joined_after: bool,
) -> bool {
    if allows(visibility, membership, joined_after) {
        return true;
    }
    match &event.kind {
        // "the user should be allowed to see the event if the history_visibility before or after the event would allow"
        TimelineEventType::RoomHistoryVisibility if event.state_key.as_deref() == Some("") => {
            allows(&visibility_of(Some(event)), membership, joined_after)
        }
        // "the user should be allowed to see the event if their membership before or after the event would allow"
        TimelineEventType::RoomMember if event.state_key.as_deref() == Some(user_id.as_str()) => {
            allows(visibility, &membership_of(Some(event)), joined_after)
        }
        _ => false,
    }
}

/// The five rules of the specification.
fn allows(
    visibility: &HistoryVisibility,
    membership: &MembershipState,
    joined_after: bool,
) -> bool {
    *visibility == HistoryVisibility::WorldReadable
        || *membership == MembershipState::Join
        || (*visibility == HistoryVisibility::Shared && joined_after)
        || (*visibility == HistoryVisibility::Invited && *membership == MembershipState::Invite)
}

/// How a server takes part in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerPresence {
    /// Whether a user of it was joined, in the state before the event.
    pub was_joined: bool,
    /// Whether a user of it was invited, in the state before the event.
    pub was_invited: bool,
    /// Whether a user of it joined after the event, or is joined now.
    pub joined_after: bool,
}

/// Whether `server` may see the content of `event`: whether one of its users may. An event that it may not see is served
/// as redacted, so that its graph stays whole. <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>
pub fn server_may_see(
    event: &Pdu,
    server: &ServerName,
    visibility: &HistoryVisibility,
    presence: ServerPresence,
) -> bool {
    let mut presence = presence;
    if event.kind == TimelineEventType::RoomMember
        && event
            .state_key
            .as_deref()
            .and_then(|key| <&UserId>::try_from(key).ok())
            .is_some_and(|user_id| user_id.server_name() == server)
    {
        match membership_of(Some(event)) {
            MembershipState::Join => presence.was_joined = true,
            MembershipState::Invite => presence.was_invited = true,
            _ => {}
        }
    }
    let sees = |visibility: &HistoryVisibility| {
        (presence.was_joined && allows(visibility, &MembershipState::Join, presence.joined_after))
            || (presence.was_invited
                && allows(visibility, &MembershipState::Invite, presence.joined_after))
            || allows(visibility, &MembershipState::Leave, presence.joined_after)
    };
    sees(visibility)
        || (event.kind == TimelineEventType::RoomHistoryVisibility
            && event.state_key.as_deref() == Some("")
            && sees(&visibility_of(Some(event))))
}

#[cfg(test)]
mod tests;
