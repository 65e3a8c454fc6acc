//! Invites that another server brings: what is taken, and how the rest is refused.

use passeur_protocol::{
    build::{EventTemplate, Tip, build},
    versions,
};
use ruma::{MilliSecondsSinceUnixEpoch, OwnedUserId, UInt};
use serde_json::value::to_raw_value;

use super::*;
use crate::store::SetAccountData;

/// An invite of Alice by Bob, with what of it is to be another.
pub(super) struct Invite {
    version: RoomVersionId,
    sender: OwnedUserId,
    invited: OwnedUserId,
    kind: &'static str,
    membership: &'static str,
}

impl Default for Invite {
    fn default() -> Self {
        Self {
            version: RoomVersionId::V11,
            sender: bob().to_owned(),
            invited: alice().to_owned(),
            kind: "m.room.member",
            membership: "invite",
        }
    }
}

impl World {
    /// Brings an invite as the peer; `spoil` may change the event after it was signed.
    async fn bring(&self, invite: &Invite, spoil: impl FnOnce(&mut Value)) -> (u16, Value) {
        self.bring_with(invite, json!([]), spoil).await
    }

    /// As [`World::bring`], and shows a state of the room.
    pub(super) async fn bring_with(
        &self,
        invite: &Invite,
        state: Value,
        spoil: impl FnOnce(&mut Value),
    ) -> (u16, Value) {
        self.alice_is_there().await;
        let at = UInt::from(1_000_u32);
        let template = EventTemplate {
            room_id: Some("!room:peer.org".try_into().unwrap()),
            sender: invite.sender.clone(),
            kind: invite.kind.into(),
            state_key: Some(invite.invited.to_string()),
            content: to_raw_value(&json!({"membership": invite.membership})).unwrap(),
            redacts: None,
            origin_server_ts: MilliSecondsSinceUnixEpoch(at),
        };
        let tip = Tip {
            prev_events: vec!["$before".try_into().unwrap()],
            auth_events: Vec::new(),
            depth: 7,
        };
        let rules = versions::rules(&RoomVersionId::V11).unwrap();
        let key = self.peer.keys.key_pair();
        let signed = build(template, tip, rules, peer_name(), key).unwrap();
        let id = signed.pdu().event_id.clone();
        let mut event: Value = serde_json::from_slice(signed.json()).unwrap();
        spoil(&mut event);
        let body =
            json!({"room_version": invite.version, "event": event, "invite_room_state": state});
        let path = format!("/_matrix/federation/v2/invite/!room:peer.org/{id}");
        self.ask("PUT", &path, body).await
    }
}

#[track_caller]
fn expect(answer: &(u16, Value), status: u16, errcode: &str) {
    assert_eq!(
        (answer.0, answer.1["errcode"].as_str()),
        (status, Some(errcode)),
        "{}",
        answer.1
    );
}

#[tokio::test]
async fn an_invite_is_signed_by_us_and_anything_else_is_not() {
    let world = World::start().await;
    let other = |change: fn(&mut Invite)| {
        let mut invite = Invite::default();
        change(&mut invite);
        invite
    };
    let wrong = [
        other(|invite| invite.kind = "m.room.message"),
        other(|invite| invite.membership = "join"),
        other(|invite| invite.sender = "@bob:third.org".try_into().unwrap()),
        other(|invite| invite.invited = "@alice:third.org".try_into().unwrap()),
    ];
    for invite in &wrong {
        expect(&world.bring(invite, |_| {}).await, 400, "M_INVALID_PARAM");
    }
    let forged = world
        .bring(&Invite::default(), |event| event["depth"] = json!(8))
        .await;
    expect(&forged, 400, "M_INVALID_PARAM");
    let memberships = world.app.rooms.memberships(alice()).await.unwrap();
    assert!(memberships.is_empty());
    // The control, with what nobody signs.
    let unsigned = json!({ "age": 5, "org.example": { "a": [null] } });
    let with_unsigned = |event: &mut Value| event["unsigned"] = unsigned.clone();
    let (status, answer) = world.bring(&Invite::default(), with_unsigned).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["event"]["unsigned"], unsigned);
    let signatures = answer["event"]["signatures"].as_object().unwrap();
    assert!(signatures.contains_key("here.org") && signatures.contains_key("peer.org"));
    let memberships = world.app.rooms.memberships(alice()).await.unwrap();
    assert_eq!(memberships.len(), 1);
}

#[tokio::test]
async fn an_invite_that_cannot_be_taken_is_refused_by_its_reason() {
    let world = World::start().await;
    let unknown = Invite {
        version: "org.example.new".try_into().unwrap(),
        ..Invite::default()
    };
    let refused = world.bring(&unknown, |_| {}).await;
    expect(&refused, 400, "M_INCOMPATIBLE_ROOM_VERSION");
    assert_eq!(refused.1["room_version"], "org.example.new");
    // In version 12 what is shown of the room must be events of it, and there is none.
    let bare = Invite {
        version: RoomVersionId::V12,
        ..Invite::default()
    };
    expect(&world.bring(&bare, |_| {}).await, 400, "M_INVALID_PARAM");
    let stripped = json!([{
        "type": "m.room.create", "state_key": "", "sender": bob(), "content": {"room_version": "12"},
    }]);
    let claimed = world.bring_with(&bare, stripped, |_| {}).await;
    expect(&claimed, 400, "M_INVALID_PARAM");
    let config = SetAccountData {
        user_id: alice().to_owned(),
        room_id: None,
        event_type: "m.invite_permission_config".to_owned(),
        content: json!({"default_action": "block"}).to_string(),
    };
    assert!(world.app.store.commit(config).await.unwrap().output);
    let blocked = world.bring(&Invite::default(), |_| {}).await;
    expect(&blocked, 403, "M_INVITE_BLOCKED");
    // Without a version it is an invite to a room of version 1 or 2.
    let event = json!({
        "type": "m.room.member", "sender": bob(), "state_key": alice(), "origin": "peer.org",
        "origin_server_ts": 1, "content": {"membership": "invite"},
    });
    let path = "/_matrix/federation/v1/invite/!room:peer.org/$event";
    let old = world.ask("PUT", path, event).await;
    expect(&old, 400, "M_INCOMPATIBLE_ROOM_VERSION");
}

#[tokio::test]
async fn nobody_is_invited_who_is_not_there() {
    let world = World::start().await;
    let nobody = Invite {
        invited: "@nobody:here.org".try_into().unwrap(),
        ..Invite::default()
    };
    let refused = world.bring(&nobody, |_| {}).await;
    expect(&refused, 403, "M_FORBIDDEN");
    let gone = crate::store::Deactivate {
        user_id: alice().to_owned(),
    };
    // The control: as long as she is there, she is.
    assert_eq!(world.bring(&Invite::default(), |_| {}).await.0, 200);
    world.app.store.commit(gone).await.unwrap();
    let refused = world.bring(&Invite::default(), |_| {}).await;
    expect(&refused, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_server_that_the_room_denies_exchanges_no_invite_and_sends_no_member() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let theirs = "@carol:peer.org";
    let event = json!({
        "type": "m.room.member", "room_id": room, "sender": alice(), "state_key": theirs,
        "content": {"membership": "invite", "third_party_invite": {
            "display_name": "x", "signed": {"mxid": alice(), "token": "t", "signatures": {}},
        }},
    });
    let exchange = format!("/_matrix/federation/v1/exchange_third_party_invite/{room}");
    let before = world.ask("PUT", &exchange, event.clone()).await;
    world.deny(&room, "peer.org").await;
    let denied = world.ask("PUT", &exchange, event).await;
    expect(&denied, 403, "M_FORBIDDEN");
    assert_eq!(denied.1["error"], "The room does not allow it");
    // The control: before, it was looked at what is exchanged.
    expect(&before, 400, "M_INVALID_PARAM");
    for version in ["v1", "v2"] {
        for what in ["send_join", "send_leave", "invite"] {
            let path = format!("/_matrix/federation/{version}/{what}/{room}/$event");
            let denied = world.ask("PUT", &path, json!({})).await;
            expect(&denied, 403, "M_FORBIDDEN");
        }
    }
}

#[tokio::test]
async fn a_third_party_invite_that_does_not_hold_is_refused() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let signed = |mxid: &str| json!({"mxid": mxid, "token": "t", "signatures": {}});
    let event = |kind: &str, sender: &str, invited: &str, signed: Value| {
        json!({
            "type": kind, "room_id": room, "sender": sender, "state_key": invited,
            "content": {"membership": "invite", "third_party_invite": {"display_name": "x", "signed": signed}},
        })
    };
    let (ours, theirs) = (alice().as_str(), "@carol:peer.org");
    let path = format!("/_matrix/federation/v1/exchange_third_party_invite/{room}");
    let refusals = [
        (
            event("m.room.message", ours, theirs, signed(theirs)),
            400,
            "M_INVALID_PARAM",
        ),
        (
            event("m.room.member", ours, theirs, signed(ours)),
            400,
            "M_INVALID_PARAM",
        ),
        (
            event("m.room.member", theirs, theirs, signed(theirs)),
            400,
            "M_INVALID_PARAM",
        ),
        (
            event(
                "m.room.member",
                ours,
                "@x:third.org",
                signed("@x:third.org"),
            ),
            403,
            "M_FORBIDDEN",
        ),
        // No such invite is in the room.
        (
            event("m.room.member", ours, theirs, signed(theirs)),
            403,
            "M_FORBIDDEN",
        ),
    ];
    for (body, status, errcode) in refusals {
        expect(&world.ask("PUT", &path, body).await, status, errcode);
    }
    let unknown = "/_matrix/federation/v1/exchange_third_party_invite/!other:here.org";
    let body = event("m.room.member", ours, theirs, signed(theirs));
    expect(&world.ask("PUT", unknown, body).await, 404, "M_NOT_FOUND");
    let bound =
        json!({"medium": "email", "address": "a@b.c", "mxid": "@nobody:here.org", "invites": []});
    let path = "/_matrix/federation/v1/3pid/onbind";
    expect(&world.ask("PUT", path, bound).await, 404, "M_NOT_FOUND");
}
