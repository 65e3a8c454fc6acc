//! Rooms whose state is not what it should be.

use super::*;

/// State that a hostile member might set, each by type and content.
fn odd_state() -> Vec<(&'static str, Value)> {
    let least = -9_007_199_254_740_991_i64;
    let text = |kind| {
        (
            kind,
            json!({"name": 5, "topic": [], "url": {}, "alias": "x", "alt_aliases": [5]}),
        )
    };
    vec![
        text("m.room.name"),
        text("m.room.topic"),
        text("m.room.avatar"),
        text("m.room.canonical_alias"),
        (
            "m.room.join_rules",
            json!({"join_rule": "org.example.odd", "allow": [5, {"type": 5}]}),
        ),
        (
            "m.room.join_rules",
            json!({"join_rule": "restricted", "allow": "all"}),
        ),
        (
            "m.room.history_visibility",
            json!({"history_visibility": "org.example.odd"}),
        ),
        ("m.room.guest_access", json!({"guest_access": {}})),
        (
            "m.room.encryption",
            json!({"algorithm": 5, "rotation_period_msgs": least}),
        ),
        ("m.room.pinned_events", json!({"pinned": "all"})),
        (
            "m.room.tombstone",
            json!({"replacement_room": "no room", "body": 5}),
        ),
        (
            "m.room.third_party_invite",
            json!({"display_name": 5, "public_keys": {}}),
        ),
        ("m.room.retention", json!({"max_lifetime": least})),
        ("org.passeur.expiry", json!({"ttl_ms": least})),
        ("m.space.child", json!({"via": 5, "order": []})),
        (
            "m.space.parent",
            json!({"via": ["a", 5], "canonical": "yes"}),
        ),
        ("m.room.policy", json!({"via": 5, "public_keys": []})),
        (
            "m.room.server_acl",
            json!({"allow": ["*", "*?*?*?*?*?*?*?*?*x", 5], "deny": "none"}),
        ),
        (
            "m.room.power_levels",
            json!({
                "users": {"@alice:example.org": 100}, "users_default": least, "events_default": least,
                "events": {"m.room.message": least}, "notifications": {"room": least},
            }),
        ),
    ]
}

#[tokio::test]
async fn odd_state_stops_neither_its_room_nor_another() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let mut rooms = Vec::new();
    for _ in 0..2 {
        let open = json!({"preset": "public_chat", "visibility": "public", "room_version": "11"});
        let room = expect_ok(server.post(&alice, "/createRoom", open).await);
        let room = room["room_id"].as_str().unwrap().to_owned();
        expect_ok(server.post(&bob, &format!("/join/{room}"), json!({})).await);
        rooms.push(room);
    }
    let (odd, other) = (&rooms[0], &rooms[1]);
    let mut taken = 0;
    for (kind, content) in odd_state() {
        let since = expect_ok(server.get(&bob, "/sync").await)["next_batch"].clone();
        let path = format!("/rooms/{odd}/state/{kind}/");
        let (status, answer) = server.put(&alice, &path, content).await;
        assert!(
            [200, 400, 403].contains(&status),
            "{kind}: {status} {answer}"
        );
        taken += usize::from(status == 200);
        let since = since.as_str().unwrap();
        for path in [
            "/sync".to_owned(),
            format!("/sync?since={since}"),
            format!("/rooms/{odd}/messages?dir=b"),
            format!("/rooms/{odd}/state"),
            format!("/rooms/{odd}/members"),
            format!("/rooms/{odd}/joined_members"),
            "/publicRooms".to_owned(),
            "/notifications".to_owned(),
            format!("/_matrix/client/v1/rooms/{odd}/hierarchy"),
        ] {
            let (status, answer) = server.get(&bob, &path).await;
            assert_eq!(status, 200, "{kind} {path}: {answer}");
        }
    }
    assert!(taken >= 10, "{taken}: most of it was in the room");
    // Both rooms go on: what Bob says, Alice is told.
    for room in [odd, other] {
        let path = format!("/rooms/{room}/send/m.room.message/{}", room.len());
        let hello = json!({"msgtype": "m.text", "body": "hello"});
        expect_ok(server.put(&bob, &path, hello).await);
        let sync = expect_ok(server.get(&alice, "/sync").await);
        let timeline = sync["rooms"]["join"][room]["timeline"].to_string();
        assert!(timeline.contains("hello"), "{timeline}");
    }
}
