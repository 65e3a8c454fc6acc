//! Upgrading rooms.

use super::*;

#[tokio::test]
async fn an_upgrade_moves_everything_and_closes_the_old_room() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let carol = server.register("carol").await;
    for (from, to) in [
        ("6", "9"),
        ("9", "12"),
        ("10", "11"),
        ("11", "12"),
        ("12", "11"),
    ] {
        let alias = format!("desk{from}to{to}");
        let body = json!({
            "visibility": "public", "room_version": from, "name": "Desk", "topic": "News",
            "room_alias_name": alias, "creation_content": {"m.federate": false},
            "power_level_content_override": {"invite": 20},
        });
        let old = server.made_room(&alice, body).await;
        expect_ok(server.enter(&bob, &old).await);
        let ban = json!({"user_id": carol.id});
        expect_ok(server.post(&alice, &format!("/rooms/{old}/ban"), ban).await);
        let upgrade = format!("/rooms/{old}/upgrade");
        let body = json!({ "new_version": to });
        expect(
            &server.post(&bob, &upgrade, body.clone()).await,
            403,
            "M_FORBIDDEN",
        );
        expect(
            &server.post(&carol, &upgrade, body.clone()).await,
            403,
            "M_FORBIDDEN",
        );
        let unknown = json!({"new_version": "one"});
        expect(
            &server.post(&alice, &upgrade, unknown).await,
            400,
            "M_UNSUPPORTED_ROOM_VERSION",
        );
        let upgraded = expect_ok(server.post(&alice, &upgrade, body).await);
        let new = upgraded["replacement_room"].as_str().unwrap();

        let rooms = (&*old, new, &*alias);
        expect_successor(&server, &alice, (from, to), rooms).await;
        expect(&server.enter(&carol, new).await, 403, "M_FORBIDDEN");
        // Ordinary members are heard in the new room alone.
        expect(&server.utter(&bob, &old, "old").await, 403, "M_FORBIDDEN");
        expect_ok(server.enter(&bob, new).await);
        expect_ok(server.utter(&bob, new, "new").await);
    }
}

/// The new room is what the old one was, and the old one says so.
async fn expect_successor(
    server: &Server,
    alice: &User,
    (from, to): (&str, &str),
    (old, new, alias): (&str, &str, &str),
) {
    let tombstone = expect_ok(server.place_of(alice, old, "m.room.tombstone").await);
    assert_eq!(tombstone["replacement_room"], new);
    let state = async |place: &str| expect_ok(server.place_of(alice, new, place).await);
    let create = state("m.room.create").await;
    assert_eq!(create["room_version"], to);
    assert_eq!(create["m.federate"], false);
    assert_eq!(create["predecessor"]["room_id"], old);
    let closed = server
        .place_of(alice, old, "m.room.tombstone?format=event")
        .await;
    let closed = &expect_ok(closed)["event_id"];
    if to != "12" {
        assert_eq!(create["predecessor"]["event_id"], *closed);
    }
    assert_eq!(state("m.room.name").await["name"], "Desk");
    assert_eq!(state("m.room.topic").await["topic"], "News");
    assert_eq!(state("m.room.join_rules").await["join_rule"], "public");
    let levels = state("m.room.power_levels").await;
    assert_eq!(levels["invite"], 20);
    let own = &levels["users"][&alice.id];
    assert_eq!(
        *own,
        if to == "12" { Value::Null } else { json!(100) },
        "{from} to {to}"
    );
    if to == "12" {
        assert_eq!(levels["events"]["m.room.tombstone"], 150);
    }
    for (room, visibility) in [(old, "private"), (new, "public")] {
        let listed = server
            .get(alice, &format!("/directory/list/room/{room}"))
            .await;
        assert_eq!(expect_ok(listed)["visibility"], visibility);
    }
    let path = format!("/directory/room/%23{alias}:example.org");
    let found = expect_ok(server.get(alice, &path).await);
    assert_eq!(found["room_id"], new);
    let canonical = state("m.room.canonical_alias").await;
    assert_eq!(canonical["alias"], format!("#{alias}:example.org"));
}

#[tokio::test]
async fn a_moderator_who_may_close_a_room_upgrades_it_and_keeps_their_level() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let body = json!({
        "preset": "public_chat", "room_version": "10",
        "power_level_content_override": {
            "users": {(&alice.id): 100, (&bob.id): 50},
            "events": {"m.room.tombstone": 50, "m.room.power_levels": 100},
        },
    });
    let old = server.made_room(&alice, body).await;
    expect_ok(server.enter(&bob, &old).await);
    let upgrade = format!("/rooms/{old}/upgrade");
    let upgraded = expect_ok(
        server
            .post(&bob, &upgrade, json!({"new_version": "11"}))
            .await,
    );
    let new = upgraded["replacement_room"].as_str().unwrap();
    let levels = expect_ok(server.place_of(&bob, new, "m.room.power_levels").await);
    assert_eq!(levels["users"], json!({(&alice.id): 100, (&bob.id): 50}));
}

#[tokio::test]
async fn further_creators_are_those_that_the_upgrade_names() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let carol = server.register("carol").await;
    let body = json!({
        "room_version": "12", "preset": "trusted_private_chat", "invite": [carol.id],
    });
    let old = server.made_room(&alice, body).await;
    let upgrade = format!("/rooms/{old}/upgrade");
    let body = json!({"new_version": "12", "additional_creators": [bob.id]});
    let upgraded = expect_ok(server.post(&alice, &upgrade, body).await);
    let new = upgraded["replacement_room"].as_str().unwrap();
    let create = expect_ok(server.place_of(&alice, new, "m.room.create").await);
    assert_eq!(create["additional_creators"], json!([bob.id]));
    let body = json!({"new_version": "12", "additional_creators": ["nobody"]});
    let answer = server
        .post(&alice, &format!("/rooms/{new}/upgrade"), body)
        .await;
    assert_eq!(answer.0, 400, "{}", answer.1);
    let body = json!({"new_version": "12"});
    let unknown = server
        .post(&alice, "/rooms/!nowhere:example.org/upgrade", body)
        .await;
    expect(&unknown, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn settings_follow_a_user_into_the_new_room() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let old = server
        .made_room(&alice, json!({"preset": "public_chat"}))
        .await;
    for user in [&alice, &bob] {
        server.enter(user, &old).await;
        let data = format!("/user/{}", user.id);
        let tag = format!("{data}/rooms/{old}/tags/m.favourite");
        expect_ok(server.put(user, &tag, json!({"order": 0.5})).await);
        let direct = format!("{data}/account_data/m.direct");
        let chats = json!({ "@carol:example.org": [old] });
        expect_ok(server.put(user, &direct, chats).await);
        let rule = format!("/pushrules/global/room/{old}");
        expect_ok(server.put(user, &rule, json!({"actions": []})).await);
    }
    let upgrade = format!("/rooms/{old}/upgrade");
    let body = json!({"new_version": "12"});
    let upgraded = expect_ok(server.post(&alice, &upgrade, body).await);
    let new = upgraded["replacement_room"].as_str().unwrap();
    // A room that only claims to follow inherits nothing.
    let claim =
        json!({"creation_content": {"predecessor": {"room_id": old}}, "preset": "public_chat"});
    let false_heir = server.made_room(&alice, claim).await;
    for user in [&alice, &bob] {
        for (room, inherits) in [(new, true), (&*false_heir, false)] {
            expect_ok(server.enter(user, room).await);
            let tags = format!("/user/{}/rooms/{room}/tags", user.id);
            let tags = expect_ok(server.get(user, &tags).await);
            assert_eq!(tags["tags"]["m.favourite"].is_object(), inherits);
            let direct = format!("/user/{}/account_data/m.direct", user.id);
            let direct = expect_ok(server.get(user, &direct).await);
            let chats = direct["@carol:example.org"].as_array().unwrap();
            assert_eq!(chats.contains(&json!(room)), inherits);
            let rule = format!("/pushrules/global/room/{room}");
            let found = server.get(user, &rule).await.0 == 200;
            assert_eq!(found, inherits);
        }
    }
}
