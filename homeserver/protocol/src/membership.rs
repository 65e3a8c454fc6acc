//! Membership events across servers: the template that another server offers us to sign, and the events that it asks us to
//! take.
//!
//! Invariant: we never sign what another server wrote. Of its template only the place in the graph is used, and who
//! authorised a restricted join; everything else is what our user asked for, and a template that says otherwise is refused.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>.

use ruma::{
    CanonicalJsonObject, CanonicalJsonValue, MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedUserId,
    RoomId, ServerName, UserId,
    events::{TimelineEventType, room::member::MembershipState},
    room_version_rules::RoomVersionRules,
};
use serde_json::value::RawValue as RawJsonValue;

use crate::{
    build::{EventTemplate, Tip},
    json,
    limits::{AUTH_EVENTS_MAX, DEPTH_MAX, PREV_EVENTS_MAX},
    pdu::Pdu,
    reason::Reason,
    visibility::membership_of,
};

/// The name of the check in a [`Reason`].
const TEMPLATE: &str = "membership template";

/// What our user asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// The user, one of ours.
    pub user_id: &'a UserId,
    /// `join`, `leave` or `knock`.
    pub membership: &'a MembershipState,
    /// Display name, avatar, reason: an object, whose `membership` and `join_authorised_via_users_server` are set here.
    pub content: &'a RawJsonValue,
    /// The time of sending.
    pub origin_server_ts: MilliSecondsSinceUnixEpoch,
}

/// Takes from the `event` of a `make_join`, `make_leave` or `make_knock` answer the place in the graph, and gives the event
/// to build in its stead.
///
/// Fails if type, room, sender, state key or membership are not what was asked for, or the edges are malformed.
pub fn accept_template(
    offered: &CanonicalJsonObject,
    asked: &Asked<'_>,
    rules: &RoomVersionRules,
) -> Result<(EventTemplate, Tip), Reason> {
    let user_id = asked.user_id.as_str();
    let expect = [
        ("type", "m.room.member"),
        ("room_id", asked.room_id.as_str()),
        ("sender", user_id),
        ("state_key", user_id),
    ];
    let text =
        |object: &CanonicalJsonObject, key: &str| Some(object.get(key)?.as_str()?.to_owned());
    if expect
        .iter()
        .any(|(key, value)| text(offered, key).as_deref() != Some(value))
    {
        return Err(Reason::new(
            TEMPLATE,
            "another type, room, sender or state key than asked for",
        ));
    }
    let empty = CanonicalJsonObject::new();
    let offered_content = offered
        .get("content")
        .and_then(CanonicalJsonValue::as_object)
        .unwrap_or(&empty);
    if text(offered_content, "membership").as_deref() != Some(asked.membership.as_str()) {
        return Err(Reason::new(TEMPLATE, "another membership than asked for"));
    }
    let tip = Tip {
        prev_events: edges(offered, "prev_events", PREV_EVENTS_MAX)?,
        auth_events: edges(offered, "auth_events", AUTH_EVENTS_MAX)?,
        depth: depth(offered)?,
    };
    let authorised_by = (*asked.membership == MembershipState::Join
        && rules.authorization.restricted_join_rule)
        .then(|| text(offered_content, "join_authorised_via_users_server"))
        .flatten();
    let template = EventTemplate {
        room_id: Some(asked.room_id.to_owned()),
        sender: asked.user_id.to_owned(),
        kind: TimelineEventType::RoomMember,
        state_key: Some(user_id.to_owned()),
        content: content(asked, authorised_by)?,
        redacts: None,
        origin_server_ts: asked.origin_server_ts,
    };
    Ok((template, tip))
}

/// The content of the event that we build.
fn content(asked: &Asked<'_>, authorised_by: Option<String>) -> Result<Box<RawJsonValue>, Reason> {
    let refuse = |detail: String| Reason::new(TEMPLATE, detail);
    let mut content = json::parse_pdu(asked.content.get().as_bytes())
        .map_err(|error| refuse(error.to_string()))?;
    content.remove("join_authorised_via_users_server");
    content.insert("membership".to_owned(), asked.membership.as_str().into());
    if let Some(user_id) = authorised_by {
        let user_id = OwnedUserId::try_from(user_id).map_err(|error| refuse(error.to_string()))?;
        content.insert(
            "join_authorised_via_users_server".to_owned(),
            user_id.as_str().into(),
        );
    }
    serde_json::value::to_raw_value(&content).map_err(|error| refuse(error.to_string()))
}

fn edges(
    offered: &CanonicalJsonObject,
    key: &str,
    count_max: usize,
) -> Result<Vec<OwnedEventId>, Reason> {
    let refuse = || Reason::new(TEMPLATE, "malformed edges");
    let ids = offered
        .get(key)
        .and_then(CanonicalJsonValue::as_array)
        .ok_or_else(refuse)?;
    if ids.len() > count_max {
        return Err(refuse());
    }
    ids.iter()
        .map(|id| {
            id.as_str()
                .and_then(|id| id.try_into().ok())
                .ok_or_else(refuse)
        })
        .collect()
}

fn depth(offered: &CanonicalJsonObject) -> Result<u64, Reason> {
    match offered.get("depth") {
        Some(CanonicalJsonValue::Integer(depth)) => u64::try_from(i64::from(*depth)).ok(),
        _ => None,
    }
    .filter(|depth| *depth <= DEPTH_MAX)
    .ok_or_else(|| Reason::new(TEMPLATE, "malformed depth"))
}

/// Checks that an event sent by `origin` to `send_join`, `send_leave` or `send_knock` is one: a membership event of one of
/// its own users, about that user, in the room of the path. Gives the user.
pub fn expect_own_membership<'p>(
    pdu: &'p Pdu,
    room_id: &RoomId,
    membership: &MembershipState,
    origin: &ServerName,
) -> Result<&'p UserId, Reason> {
    let refuse = |detail: &str| Reason::new("membership event", detail);
    if pdu.kind != TimelineEventType::RoomMember || membership_of(Some(pdu)) != *membership {
        return Err(refuse("not the kind of event that this endpoint takes"));
    }
    if pdu.room_id != *room_id {
        return Err(refuse("another room than that of the path"));
    }
    if pdu.state_key.as_deref() != Some(pdu.sender.as_str()) || pdu.sender.server_name() != origin {
        return Err(refuse("not about a user of the sending server"));
    }
    Ok(&pdu.sender)
}

/// Checks that an event sent by `origin` to `invite` is an invite of one of our users by one of its own, in the room of the
/// path. Gives the invited user.
pub fn expect_invite(
    pdu: &Pdu,
    room_id: &RoomId,
    origin: &ServerName,
    us: &ServerName,
) -> Result<OwnedUserId, Reason> {
    let refuse = |detail: &str| Reason::new("invite", detail);
    if pdu.kind != TimelineEventType::RoomMember
        || membership_of(Some(pdu)) != MembershipState::Invite
    {
        return Err(refuse("not an invite"));
    }
    if pdu.room_id != *room_id {
        return Err(refuse("another room than that of the path"));
    }
    if pdu.sender.server_name() != origin {
        return Err(refuse("not sent by a user of the sending server"));
    }
    let invited = pdu
        .state_key
        .as_deref()
        .and_then(|key| OwnedUserId::try_from(key).ok());
    invited
        .filter(|user_id| user_id.server_name() == us)
        .ok_or_else(|| refuse("not for a user of ours"))
}

#[cfg(test)]
mod tests;
