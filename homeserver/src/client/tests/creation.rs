//! What a room may be created with.

use super::*;

#[tokio::test]
async fn what_is_mistyped_decides_nothing() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for body in [
        json!({"visibility": "pubilc"}),
        json!({"preset": "public"}),
        json!({"visibility": "public", "preset": "x"}),
    ] {
        let answer = server.post(&alice, "/createRoom", body).await;
        expect(&answer, 400, "M_BAD_JSON");
    }
    let room = server.room(&alice, json!({"visibility": "public"})).await;
    let path = format!("/directory/list/room/{room}");
    let answer = server
        .put(&alice, &path, json!({"visibility": "pubilc"}))
        .await;
    expect(&answer, 400, "M_BAD_JSON");
    let shown = expect_ok(server.get(&alice, &path).await);
    assert_eq!(shown["visibility"], "public");
}

#[tokio::test]
async fn nobody_is_invited_by_initial_state() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let member = |membership: &str| {
        json!({"initial_state": [{
            "type": "m.room.member", "state_key": bob.id, "content": {"membership": membership},
        }]})
    };
    let answer = server.post(&alice, "/createRoom", member("invite")).await;
    expect(&answer, 400, "M_INVALID_PARAM");
    let joined = expect_ok(server.get(&alice, "/joined_rooms").await);
    assert_eq!(joined["joined_rooms"], json!([]));
    // A ban asks nobody.
    expect_ok(server.post(&alice, "/createRoom", member("ban")).await);
}

#[tokio::test]
async fn closing_a_room_takes_more_than_its_state_whatever_is_overridden() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for (levels, least) in [
        (json!({"events": {"m.room.name": 0}}), 51),
        (json!({"state_default": 150}), 151),
        (json!({}), 51),
    ] {
        let body = json!({"power_level_content_override": levels, "room_version": "12"});
        let room = server.room(&alice, body).await;
        let path = format!("/rooms/{room}/state/m.room.power_levels/");
        let levels = expect_ok(server.get(&alice, &path).await);
        let tombstone = levels["events"]["m.room.tombstone"].as_i64();
        assert!(tombstone.is_some_and(|level| level >= least), "{levels}");
    }
    let body = json!({"power_level_content_override": {"events": {}}, "room_version": "11"});
    let room = server.room(&alice, body).await;
    let path = format!("/rooms/{room}/state/m.room.power_levels/");
    let levels = expect_ok(server.get(&alice, &path).await);
    assert_eq!(
        levels["events"],
        json!({}),
        "before version 12 it is the client's affair"
    );
}
