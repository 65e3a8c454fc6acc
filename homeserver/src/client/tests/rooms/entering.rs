//! Knocking, and joining restricted rooms, where this server decides alone.

use super::*;

/// Join rules by which the members of a room may join.
fn restricted(rule: &str, room: &str) -> Value {
    json!({"join_rule": rule, "allow": [{"type": "m.room_membership", "room_id": room}]})
}

#[tokio::test]
async fn a_knock_is_seen_and_accepted_turned_down_or_taken_back() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    for version in ["7", "12"] {
        let rules = json!({"type": "m.room.join_rules", "content": {"join_rule": "knock"}});
        let body = json!({"room_version": version, "name": "Desk", "initial_state": [rules]});
        let room = server.made_room(&alice, body).await;
        let knock = async |why: &str| {
            let path = format!("/knock/{room}");
            server.post(&bob, &path, json!({"reason": why})).await
        };
        assert_eq!(expect_ok(knock("hello").await)["room_id"], room.as_str());
        let told = server.first_sync(&bob).await;
        let shown = &told["rooms"]["knock"][&room]["knock_state"]["events"];
        let shown = shown.as_array().unwrap();
        assert!(
            shown.iter().any(|event| event["content"]["name"] == "Desk"),
            "{told}"
        );
        assert!(
            shown
                .iter()
                .any(|event| event["content"]["membership"] == "knock")
        );
        let member = format!("m.room.member/{}", bob.id);
        let content = expect_ok(server.place_of(&alice, &room, &member).await);
        assert_eq!(
            (&content["membership"], &content["reason"]),
            (&json!("knock"), &json!("hello"))
        );
        // Nobody may join who has only knocked.
        expect(&server.enter(&bob, &room).await, 403, "M_FORBIDDEN");
        // Turned down.
        let whom = json!({"user_id": bob.id});
        expect_ok(
            server
                .post(&alice, &format!("/rooms/{room}/kick"), whom)
                .await,
        );
        // Taken back.
        expect_ok(knock("again").await);
        expect_ok(
            server
                .post(&bob, &format!("/rooms/{room}/leave"), json!({}))
                .await,
        );
        // Accepted.
        expect_ok(knock("please").await);
        expect_ok(server.ask_in(&alice, &room, &bob).await);
        expect(&knock("too late").await, 403, "M_FORBIDDEN");
        expect_ok(server.enter(&bob, &room).await);
        expect(&knock("inside").await, 403, "M_FORBIDDEN");
    }
}

#[tokio::test]
async fn a_knock_is_refused_where_knocking_is_not_allowed() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let rules = json!({"type": "m.room.join_rules", "content": {"join_rule": "knock"}});
    let old = json!({"room_version": "6", "initial_state": [rules]});
    for body in [json!({}), old, json!({"preset": "public_chat"})] {
        let room = server.made_room(&alice, body).await;
        let answer = server
            .post(&bob, &format!("/knock/{room}"), json!({}))
            .await;
        expect(&answer, 403, "M_FORBIDDEN");
    }
    for unknown in ["!nowhere:example.org", "%23nowhere:example.org"] {
        let answer = server
            .post(&bob, &format!("/knock/{unknown}"), json!({}))
            .await;
        expect(&answer, 404, "M_NOT_FOUND");
    }
}

#[tokio::test]
async fn members_of_the_named_room_join_a_restricted_one() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    for (version, rule) in [
        ("8", "restricted"),
        ("9", "restricted"),
        ("10", "knock_restricted"),
        ("12", "restricted"),
    ] {
        let parent = server
            .made_room(&alice, json!({"preset": "public_chat"}))
            .await;
        let rules = json!({"type": "m.room.join_rules", "content": restricted(rule, &parent)});
        let body = json!({"room_version": version, "initial_state": [rules]});
        let room = server.made_room(&alice, body).await;
        expect(&server.enter(&bob, &room).await, 403, "M_FORBIDDEN");
        expect_ok(server.enter(&bob, &parent).await);
        expect_ok(server.enter(&bob, &room).await);
        let member = format!("m.room.member/{}", bob.id);
        let content = expect_ok(server.place_of(&alice, &room, &member).await);
        assert_eq!(
            content["join_authorised_via_users_server"],
            alice.id.as_str()
        );
        // Whoever is in the room stays when they leave the other; once out, they stay out.
        let leave = async |room: &str| {
            expect_ok(
                server
                    .post(&bob, &format!("/rooms/{room}/leave"), json!({}))
                    .await,
            )
        };
        leave(&parent).await;
        leave(&room).await;
        expect(&server.enter(&bob, &room).await, 403, "M_FORBIDDEN");
        // An invite is enough.
        expect_ok(server.ask_in(&alice, &room, &bob).await);
        expect_ok(server.enter(&bob, &room).await);
    }
}

#[tokio::test]
async fn versions_without_restricted_joins_know_none() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let parent = server
        .made_room(&alice, json!({"preset": "public_chat"}))
        .await;
    expect_ok(server.enter(&bob, &parent).await);
    for (version, rule) in [("7", "restricted"), ("9", "knock_restricted")] {
        let rules = json!({"type": "m.room.join_rules", "content": restricted(rule, &parent)});
        let body = json!({"room_version": version, "initial_state": [rules]});
        let room = server.made_room(&alice, body).await;
        expect(&server.enter(&bob, &room).await, 403, "M_FORBIDDEN");
    }
}

#[tokio::test]
async fn levels_are_numbers_whatever_the_version() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for version in ["6", "9", "10"] {
        let with = |level: Value| json!({"room_version": version, "power_level_content_override": {"redact": level}});
        let refused = server.post(&alice, "/createRoom", with(json!("50"))).await;
        expect(&refused, 400, "M_INVALID_ROOM_STATE");
        let room = server.made_room(&alice, with(json!(50))).await;
        let path = format!("/rooms/{room}/state/m.room.power_levels");
        let levels = expect_ok(server.get(&alice, &path).await);
        for (place, wrong) in [
            ("ban", json!("50")),
            ("kick", json!(null)),
            ("users", json!({(&alice.id): "100"})),
            ("events", json!({"m.room.name": [50]})),
            ("notifications", json!({"room": "50"})),
            ("users", json!([])),
        ] {
            let mut levels = levels.clone();
            levels[place] = wrong;
            expect(&server.put(&alice, &path, levels).await, 400, "M_BAD_JSON");
        }
        // The control.
        expect_ok(server.put(&alice, &path, levels).await);
    }
}

#[tokio::test]
async fn an_invite_that_an_identifier_was_sent_opens_the_room_to_its_owner() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server
        .made_room(&alice, json!({"preset": "private_chat"}))
        .await;
    let identity = crate::outbound::testing::key_pair("0");
    let key: ruma::serde::Base64 = ruma::serde::Base64::new(identity.public_key().to_vec());
    let content = json!({
        "display_name": "b...", "key_validity_url": "https://id.example/valid",
        "public_key": key, "public_keys": [{"public_key": key}],
    });
    let path = format!("/rooms/{room}/state/m.room.third_party_invite/t0ken");
    expect_ok(server.put(&alice, &path, content).await);
    let signed = |mxid: &str| {
        let object = json!({"mxid": mxid, "token": "t0ken"});
        let mut object: ruma::CanonicalJsonObject = serde_json::from_value(object).unwrap();
        ruma::signatures::sign_json("id.example", &*identity, &mut object).unwrap();
        let mut signed = serde_json::to_value(object).unwrap();
        signed["sender"] = json!(alice.id);
        json!({ "third_party_signed": signed })
    };
    let join = format!("/rooms/{room}/join");
    expect(
        &server.post(&bob, &join, json!({})).await,
        403,
        "M_FORBIDDEN",
    );
    let of_alice = server.post(&bob, &join, signed(&alice.id)).await;
    expect(&of_alice, 400, "M_INVALID_PARAM");
    let mut forged = signed(&alice.id);
    forged["third_party_signed"]["mxid"] = json!(bob.id);
    expect(&server.post(&bob, &join, forged).await, 403, "M_FORBIDDEN");
    expect_ok(server.post(&bob, &join, signed(&bob.id)).await);
    let path = format!("/rooms/{room}/state/m.room.member/{}", bob.id);
    let member = expect_ok(server.get(&bob, &path).await);
    assert_eq!(member["membership"], "join");
}
