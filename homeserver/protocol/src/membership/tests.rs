//! Templates and events that say something else than they should.

use ruma::{UInt, room_version_rules::RoomVersionRules};
use serde_json::{Value as JsonValue, json};

use super::*;
use crate::{
    build::build,
    testing::{BOB, key_pair, raw},
};

const ROOM: &str = "!room:one.example";

fn template() -> JsonValue {
    json!({
        "type": "m.room.member", "room_id": ROOM, "sender": BOB, "state_key": BOB, "origin_server_ts": 1, "depth": 9,
        "content": { "membership": "join", "join_authorised_via_users_server": "@a:one.example", "extra": "theirs" },
        "prev_events": ["$p"], "auth_events": ["$a"], "extra": "theirs",
    })
}

fn accept(
    offered: &JsonValue,
    membership: &MembershipState,
) -> Result<(EventTemplate, Tip), Reason> {
    let content = raw(&json!({
        "displayname": "Bob", "membership": "ban", "join_authorised_via_users_server": "@forged:x.example",
    }));
    let asked = Asked {
        room_id: ROOM.try_into().unwrap(),
        user_id: BOB.try_into().unwrap(),
        membership,
        content: &content,
        origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::from(7_u32)),
    };
    let offered = json::parse_pdu(offered.to_string().as_bytes()).unwrap();
    accept_template(&offered, &asked, &RoomVersionRules::V11)
}

#[test]
fn of_a_template_only_the_edges_and_the_authorising_user_are_taken() {
    let (ours, tip) = accept(&template(), &MembershipState::Join).unwrap();
    assert_eq!(
        ours.content.get(),
        r#"{"displayname":"Bob","join_authorised_via_users_server":"@a:one.example","membership":"join"}"#
    );
    assert_eq!(
        (tip.depth, tip.prev_events.len(), tip.auth_events.len()),
        (9, 1, 1)
    );
    let signed = build(
        ours,
        tip,
        &RoomVersionRules::V11,
        "two.example".try_into().unwrap(),
        &key_pair(),
    )
    .unwrap();
    assert!(!String::from_utf8_lossy(signed.json()).contains("theirs"));
    assert_eq!(signed.pdu().origin_server_ts.get(), UInt::from(7_u32));
}

#[test]
fn a_template_for_anything_else_is_refused() {
    for (key, value) in [
        ("type", json!("m.room.power_levels")),
        ("type", json!(null)),
        ("room_id", json!("!other:one.example")),
        ("sender", json!("@eve:two.example")),
        ("state_key", json!("@eve:two.example")),
        ("content", json!({ "membership": "ban" })),
        ("content", json!([])),
        ("prev_events", json!(["p"])),
        ("prev_events", json!(vec!["$p"; 21])),
        ("auth_events", json!(vec!["$p"; 11])),
        ("auth_events", json!("$a")),
        ("depth", json!(-1)),
        ("depth", json!("9")),
    ] {
        let mut offered = template();
        offered[key] = value.clone();
        assert!(
            accept(&offered, &MembershipState::Join).is_err(),
            "{key} {value}"
        );
    }
    assert!(accept(&template(), &MembershipState::Leave).is_err());
    let mut odd = template();
    odd["content"]["join_authorised_via_users_server"] = json!("nobody");
    assert!(accept(&odd, &MembershipState::Join).is_err());
}

#[test]
fn a_leave_takes_over_no_authorising_user() {
    let mut offered = template();
    offered["content"]["membership"] = json!("leave");
    let (ours, _) = accept(&offered, &MembershipState::Leave).unwrap();
    assert_eq!(
        ours.content.get(),
        r#"{"displayname":"Bob","membership":"leave"}"#
    );
}

fn member(sender: &str, state_key: &str, membership: &str) -> Pdu {
    let mut event = template();
    event["sender"] = json!(sender);
    event["state_key"] = json!(state_key);
    event["content"] = json!({ "membership": membership });
    Pdu::from_json(
        "$e".try_into().unwrap(),
        event.to_string().as_bytes(),
        &RoomVersionRules::V11,
    )
    .unwrap()
}

#[test]
fn a_membership_event_is_of_the_own_user_in_the_room_of_the_path() {
    let two = <&ServerName>::try_from("two.example").unwrap();
    let check = |pdu: &Pdu, room: &str, membership: MembershipState, origin: &ServerName| {
        expect_own_membership(pdu, room.try_into().unwrap(), &membership, origin).is_ok()
    };
    let join = member(BOB, BOB, "join");
    assert!(check(&join, ROOM, MembershipState::Join, two));
    assert!(!check(&join, ROOM, MembershipState::Leave, two));
    assert!(!check(
        &join,
        "!other:one.example",
        MembershipState::Join,
        two
    ));
    assert!(!check(
        &join,
        ROOM,
        MembershipState::Join,
        "one.example".try_into().unwrap()
    ));
    assert!(!check(
        &member(BOB, "@eve:two.example", "leave"),
        ROOM,
        MembershipState::Leave,
        two
    ));
    let mut topic = join;
    topic.kind = "m.room.topic".into();
    assert!(!check(&topic, ROOM, MembershipState::Join, two));
}

#[test]
fn an_invite_is_for_one_of_us_by_one_of_them() {
    let (one, two) = (
        "one.example".try_into().unwrap(),
        "two.example".try_into().unwrap(),
    );
    let room = ROOM.try_into().unwrap();
    let alice = "@alice:one.example";
    assert_eq!(
        expect_invite(&member(alice, BOB, "invite"), room, one, two).unwrap(),
        BOB
    );
    assert!(expect_invite(&member(alice, BOB, "join"), room, one, two).is_err());
    assert!(expect_invite(&member(alice, "bob", "invite"), room, one, two).is_err());
    assert!(expect_invite(&member(alice, "@x:three.example", "invite"), room, one, two).is_err());
    assert!(expect_invite(&member("@x:three.example", BOB, "invite"), room, one, two).is_err());
    assert!(
        expect_invite(
            &member(alice, BOB, "invite"),
            "!o:x".try_into().unwrap(),
            one,
            two
        )
        .is_err()
    );
}
