//! The rule table, row by row, for users and servers.

use ruma::room_version_rules::RoomVersionRules;
use serde_json::json;

use super::*;

fn event(kind: &str, state_key: Option<&str>, content: serde_json::Value) -> Pdu {
    let mut event = json!({
        "type": kind, "sender": "@a:x.example", "room_id": "!r:x.example", "origin_server_ts": 5, "depth": 2,
        "prev_events": [], "auth_events": [], "content": content,
    });
    if let Some(key) = state_key {
        event["state_key"] = json!(key);
    }
    Pdu::from_json(
        "$e".try_into().unwrap(),
        event.to_string().as_bytes(),
        &RoomVersionRules::V11,
    )
    .unwrap()
}

fn message() -> Pdu {
    event("m.room.message", None, json!({}))
}

fn bob() -> &'static UserId {
    <&UserId>::try_from("@bob:two.example").unwrap()
}

#[test]
fn the_rules_hold_row_by_row() {
    use HistoryVisibility as V;
    use MembershipState as M;
    let check = |visibility: V, membership: M, joined_after: bool, expect: bool| {
        let sees = user_may_see(&message(), bob(), &visibility, &membership, joined_after);
        assert_eq!(sees, expect, "{visibility} {membership} {joined_after}");
    };
    for membership in [M::Join, M::Invite, M::Leave, M::Ban, M::Knock] {
        check(V::WorldReadable, membership.clone(), false, true);
        check(V::Shared, membership.clone(), true, true);
        check(V::Shared, membership.clone(), false, membership == M::Join);
        check(
            V::Invited,
            membership.clone(),
            true,
            membership == M::Join || membership == M::Invite,
        );
        check(V::Joined, membership.clone(), true, membership == M::Join);
        check(V::Joined, membership.clone(), false, membership == M::Join);
    }
}

#[test]
fn a_change_of_visibility_is_seen_by_those_of_either_side() {
    let opened = event(
        "m.room.history_visibility",
        Some(""),
        json!({ "history_visibility": "world_readable" }),
    );
    let sees = |event: &Pdu, before: HistoryVisibility| {
        user_may_see(event, bob(), &before, &MembershipState::Leave, false)
    };
    assert!(sees(&opened, HistoryVisibility::Joined));
    let closed = event(
        "m.room.history_visibility",
        Some(""),
        json!({ "history_visibility": "joined" }),
    );
    assert!(sees(&closed, HistoryVisibility::WorldReadable));
    assert!(!sees(&closed, HistoryVisibility::Joined));
    let elsewhere = event(
        "m.room.history_visibility",
        Some("x"),
        json!({ "history_visibility": "world_readable" }),
    );
    assert!(!sees(&elsewhere, HistoryVisibility::Joined));
}

#[test]
fn a_user_sees_the_own_join_and_the_own_ban_but_not_those_of_others() {
    let member = |user: &str, membership: &str| {
        event(
            "m.room.member",
            Some(user),
            json!({ "membership": membership }),
        )
    };
    let sees = |event: &Pdu, before: MembershipState| {
        user_may_see(event, bob(), &HistoryVisibility::Joined, &before, false)
    };
    assert!(sees(
        &member(bob().as_str(), "join"),
        MembershipState::Leave
    ));
    assert!(sees(&member(bob().as_str(), "ban"), MembershipState::Join));
    assert!(!sees(
        &member(bob().as_str(), "ban"),
        MembershipState::Leave
    ));
    assert!(!sees(
        &member("@carol:x.example", "join"),
        MembershipState::Leave
    ));
}

#[test]
fn unknown_and_missing_visibility_is_shared() {
    let odd = |value| visibility_of(Some(&event("m.room.history_visibility", Some(""), value)));
    assert_eq!(visibility_of(None), HistoryVisibility::Shared);
    assert_eq!(
        odd(json!({ "history_visibility": "org.example.odd" })),
        HistoryVisibility::Shared
    );
    assert_eq!(
        odd(json!({ "history_visibility": 5 })),
        HistoryVisibility::Shared
    );
    assert_eq!(odd(json!({})), HistoryVisibility::Shared);
    assert_eq!(
        odd(json!({ "history_visibility": "joined" })),
        HistoryVisibility::Joined
    );
    assert_eq!(membership_of(None), MembershipState::Leave);
    assert_eq!(
        membership_of(Some(&event("m.room.member", Some("@b:x"), json!({})))),
        MembershipState::Leave
    );
}

#[test]
fn a_server_sees_what_one_of_its_users_may() {
    use HistoryVisibility as V;
    let server = <&ServerName>::try_from("two.example").unwrap();
    let check =
        |visibility: V, was_joined: bool, was_invited: bool, joined_after: bool, expect: bool| {
            let presence = ServerPresence {
                was_joined,
                was_invited,
                joined_after,
            };
            assert_eq!(
                server_may_see(&message(), server, &visibility, presence),
                expect,
                "{visibility} {presence:?}"
            );
        };
    check(V::WorldReadable, false, false, false, true);
    check(V::Shared, false, false, true, true);
    check(V::Shared, false, false, false, false);
    check(V::Invited, false, true, false, true);
    check(V::Invited, false, false, true, false);
    check(V::Joined, true, false, false, true);
    check(V::Joined, false, true, true, false);

    let join = event(
        "m.room.member",
        Some("@bob:two.example"),
        json!({ "membership": "join" }),
    );
    assert!(server_may_see(
        &join,
        server,
        &V::Joined,
        ServerPresence::default()
    ));
    let invite = event(
        "m.room.member",
        Some("@bob:two.example"),
        json!({ "membership": "invite" }),
    );
    assert!(server_may_see(
        &invite,
        server,
        &V::Invited,
        ServerPresence::default()
    ));
    assert!(!server_may_see(
        &invite,
        server,
        &V::Joined,
        ServerPresence::default()
    ));
    let other = event(
        "m.room.member",
        Some("@eve:three.example"),
        json!({ "membership": "join" }),
    );
    assert!(!server_may_see(
        &other,
        server,
        &V::Joined,
        ServerPresence::default()
    ));
}
