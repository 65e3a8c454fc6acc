//! Rooms over the client API: creating them, moderating them, and events of their own kind.

use super::*;

mod beside;
mod entering;
mod upgrades;

impl Server {
    /// Creates a room; answers with its id.
    async fn made_room(&self, user: &User, body: Value) -> String {
        let created = expect_ok(self.post(user, "/createRoom", body).await);
        created["room_id"].as_str().unwrap().to_owned()
    }

    /// The content of a place of a room's state.
    async fn place_of(&self, user: &User, room: &str, place: &str) -> Answer {
        self.get(user, &format!("/rooms/{room}/state/{place}"))
            .await
    }

    async fn set_place(&self, user: &User, room: &str, place: &str, content: Value) -> Answer {
        let path = format!("/rooms/{room}/state/{place}");
        self.put(user, &path, content).await
    }

    async fn enter(&self, user: &User, room: &str) -> Answer {
        self.post(user, &format!("/rooms/{room}/join"), json!({}))
            .await
    }

    async fn ask_in(&self, user: &User, room: &str, whom: &User) -> Answer {
        let path = format!("/rooms/{room}/invite");
        self.post(user, &path, json!({ "user_id": whom.id })).await
    }

    async fn utter(&self, user: &User, room: &str, txn: &str) -> Answer {
        let path = format!("/rooms/{room}/send/m.room.message/{txn}");
        let content = json!({ "msgtype": "m.text", "body": txn });
        self.put(user, &path, content).await
    }

    async fn first_sync(&self, user: &User) -> Value {
        expect_ok(self.get(user, "/sync").await)
    }
}

#[tokio::test]
async fn what_cannot_be_created_is_refused_before_anything_exists() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let overriding = |levels: Value| json!({"power_level_content_override": levels});
    let unsupported = [json!("1"), json!("none"), json!(""), json!("x".repeat(33))];
    let unsupported = unsupported.map(|version| json!({"room_version": version}));
    let invalid = ["a:b", "a b", ""].map(|alias| json!({"room_alias_name": alias}));
    let malformed = [
        json!({"room_version": 12}),
        json!({"initial_state": [{"type": "m.room.name"}]}),
    ];
    let mut creator = overriding(json!({"users": {(&alice.id): 100}}));
    creator["room_version"] = json!("12");
    let impossible = [
        overriding(json!({"users": {"nobody": 1}})),
        creator,
        json!({"room_version": "12", "creation_content": {"additional_creators": ["nobody"]}}),
    ];
    let by_mail = json!({"id_server": "id.example", "id_access_token": "t", "medium": "email", "address": "a@b.c"});
    let untrusted = [json!({"invite_3pid": [by_mail]})];
    let refusals: [(&[Value], u16, &str); 5] = [
        (&unsupported, 400, "M_UNSUPPORTED_ROOM_VERSION"),
        (&invalid, 400, "M_INVALID_PARAM"),
        (&malformed, 400, "M_BAD_JSON"),
        (&impossible, 400, "M_INVALID_ROOM_STATE"),
        (&untrusted, 403, "M_SERVER_NOT_TRUSTED"),
    ];
    for (bodies, status, errcode) in refusals {
        for body in bodies {
            let answer = server.post(&alice, "/createRoom", body.clone()).await;
            expect(&answer, status, errcode);
        }
    }
    let path = format!("/user/{}/account_data/m.invite_permission_config", bob.id);
    expect_ok(
        server
            .put(&bob, &path, json!({"default_action": "block"}))
            .await,
    );
    let answer = server
        .post(&alice, "/createRoom", json!({"invite": [bob.id]}))
        .await;
    expect(&answer, 403, "M_INVITE_BLOCKED");
    let joined = expect_ok(server.get(&alice, "/joined_rooms").await);
    assert_eq!(joined["joined_rooms"], json!([]));
    // The control: when he no longer minds, he is invited.
    expect_ok(server.put(&bob, &path, json!({})).await);
    server.made_room(&alice, json!({"invite": [bob.id]})).await;
}

#[tokio::test]
async fn a_taken_alias_is_refused() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let body = json!({"room_alias_name": "desk"});
    let room = server.made_room(&alice, body.clone()).await;
    expect(
        &server.post(&alice, "/createRoom", body).await,
        400,
        "M_ROOM_IN_USE",
    );
    let canonical = expect_ok(
        server
            .place_of(&alice, &room, "m.room.canonical_alias")
            .await,
    );
    assert_eq!(canonical["alias"], "#desk:example.org");
}

#[tokio::test]
async fn a_room_begins_with_what_was_asked_for() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    for version in ["6", "7", "8", "9", "10", "11", "12"] {
        let body = json!({
            "room_version": version,
            "preset": "trusted_private_chat",
            "name": "Desk",
            "topic": "News",
            "invite": [bob.id, bob.id, alice.id],
            "is_direct": true,
            "creation_content": {"m.federate": false, "creator": "@x:y", "room_version": "1", "type": "m.space"},
            "power_level_content_override": {"ban": 75},
            "initial_state": [
                {"type": "m.room.name", "content": {"name": "Other"}},
                {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
            ],
        });
        let room = server.made_room(&alice, body).await;
        let state = async |place: &str| expect_ok(server.place_of(&alice, &room, place).await);
        let create = state("m.room.create").await;
        assert_eq!(create["room_version"], version);
        assert_eq!(create["m.federate"], false);
        assert_eq!(create["type"], "m.space");
        let creator = if ["11", "12"].contains(&version) {
            Value::Null
        } else {
            json!(alice.id)
        };
        assert_eq!(create["creator"], creator, "{version}");
        let levels = state("m.room.power_levels").await;
        assert_eq!(levels["ban"], 75);
        if version == "12" {
            assert_eq!(create["additional_creators"], json!([bob.id]));
            assert_eq!(levels["users"], json!({}));
            assert_eq!(levels["events"]["m.room.tombstone"], 150);
        } else {
            assert_eq!(levels["users"], json!({(&alice.id): 100, (&bob.id): 100}));
        }
        assert_eq!(state("m.room.name").await["name"], "Desk");
        assert_eq!(
            state("m.room.topic").await["m.topic"]["m.text"][0]["body"],
            "News"
        );
        assert_eq!(
            state("m.room.guest_access").await["guest_access"],
            "can_join"
        );
        let visibility = state("m.room.history_visibility").await;
        assert_eq!(visibility["history_visibility"], "joined");
        let invite = state(&format!("m.room.member/{}", bob.id)).await;
        assert_eq!(
            (&invite["membership"], &invite["is_direct"]),
            (&json!("invite"), &json!(true))
        );
    }
    let capabilities = expect_ok(server.get(&alice, "/capabilities").await);
    let versions = &capabilities["capabilities"]["m.room_versions"];
    assert_eq!(versions["default"], "12");
    assert_eq!(versions["available"].as_object().unwrap().len(), 7);
}

#[tokio::test]
async fn only_those_who_are_there_are_kicked_and_only_the_banned_are_unbanned() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let room = server
        .made_room(&alice, json!({"preset": "public_chat"}))
        .await;
    let act = async |what: &str| {
        let path = format!("/rooms/{room}/{what}");
        let body = json!({"user_id": bob.id, "reason": "why not"});
        server.post(&alice, &path, body).await
    };
    expect(&act("kick").await, 403, "M_FORBIDDEN");
    expect(&act("unban").await, 403, "M_BAD_STATE");
    let path = format!("/rooms/{room}/unban");
    let stranger = server.register("stranger").await;
    let answer = server
        .post(&stranger, &path, json!({"user_id": bob.id}))
        .await;
    expect(&answer, 403, "M_FORBIDDEN");
    expect_ok(server.enter(&bob, &room).await);
    expect_ok(act("kick").await);
    let member = format!("m.room.member/{}", bob.id);
    let left = expect_ok(server.place_of(&alice, &room, &member).await);
    assert_eq!(left, json!({"membership": "leave", "reason": "why not"}));
    expect_ok(act("ban").await);
    expect(&act("kick").await, 403, "M_FORBIDDEN");
    expect(&server.enter(&bob, &room).await, 403, "M_FORBIDDEN");
    expect_ok(act("unban").await);
    expect_ok(server.enter(&bob, &room).await);
}

#[tokio::test]
async fn new_canonical_aliases_must_lead_to_the_room() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server
        .made_room(&alice, json!({"room_alias_name": "one"}))
        .await;
    let other = json!({"room_alias_name": "two"});
    server.made_room(&alice, other).await;
    let place = "m.room.canonical_alias";
    for (content, errcode) in [
        (json!({"alias": "#two:example.org"}), "M_BAD_ALIAS"),
        (json!({"alias": "#none:example.org"}), "M_BAD_ALIAS"),
        (json!({"alt_aliases": ["#none:example.org"]}), "M_BAD_ALIAS"),
        (json!({"alt_aliases": ["none"]}), "M_INVALID_PARAM"),
        (json!({"alias": 1}), "M_BAD_JSON"),
    ] {
        expect(
            &server.set_place(&alice, &room, place, content).await,
            400,
            errcode,
        );
    }
    // What leads here may be named, and named again.
    let content = json!({"alias": "#one:example.org", "alt_aliases": ["#one:example.org"]});
    for _ in 0..2 {
        let set = server.set_place(&alice, &room, place, content.clone());
        expect_ok(set.await);
    }
    // Once it leads nowhere it is gone from the event as well, and new to it.
    let path = "/directory/room/%23one:example.org";
    let gone = server.call("DELETE", path, &alice.token, Value::Null).await;
    expect_ok(gone);
    let again = server.set_place(&alice, &room, place, content).await;
    expect(&again, 400, "M_BAD_ALIAS");
}

#[tokio::test]
async fn a_device_is_told_its_transaction_wherever_its_event_is_shown() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.made_room(&alice, json!({})).await;
    let before = server.first_sync(&alice).await;
    let root = expect_ok(server.utter(&alice, &room, "root").await);
    let root = root["event_id"].as_str().unwrap();
    let path = format!("/rooms/{room}/send/m.room.message/answer");
    let answer = json!({
        "msgtype": "m.text", "body": "answer",
        "m.relates_to": {"rel_type": "m.thread", "event_id": root},
    });
    let answer = expect_ok(server.put(&alice, &path, answer).await);
    let id = answer["event_id"].as_str().unwrap();
    let since = before["next_batch"].as_str().unwrap();
    let shown = [
        "/sync".to_owned(),
        format!("/sync?since={since}"),
        format!("/rooms/{room}/messages?dir=b"),
        format!("/rooms/{room}/context/{id}"),
        format!("/rooms/{room}/event/{id}"),
    ];
    let other = server.login("alice").await;
    for path in shown {
        let told = expect_ok(server.get(&alice, &path).await);
        assert_eq!(transactions_of(&told, id), ["answer"], "{path}");
        let told = expect_ok(server.get(&other, &path).await);
        assert!(transactions_of(&told, id).is_empty(), "{path}");
    }
    let path = format!("/_matrix/client/v1/rooms/{room}/relations/{root}");
    let told = expect_ok(server.get(&alice, &path).await);
    assert_eq!(transactions_of(&told, id), ["answer"]);
}

/// The transactions that an answer names for an event, each once.
fn transactions_of(value: &Value, id: &str) -> Vec<String> {
    let mut found = Vec::new();
    match value {
        Value::Object(map) => {
            let own = map.get("event_id").is_some_and(|event| event == id);
            if let (true, Some(transaction)) = (own, value["unsigned"]["transaction_id"].as_str()) {
                found.push(transaction.to_owned());
            }
            found.extend(map.values().flat_map(|inner| transactions_of(inner, id)));
        }
        Value::Array(list) => {
            found.extend(list.iter().flat_map(|inner| transactions_of(inner, id)))
        }
        _ => {}
    }
    found.dedup();
    found
}

#[tokio::test]
async fn whoever_blocks_invites_is_neither_sent_nor_shown_any() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let early = server.made_room(&alice, json!({"invite": [bob.id]})).await;
    let late = server.made_room(&alice, json!({})).await;
    let config = format!("/user/{}/account_data/m.invite_permission_config", bob.id);
    let block = json!({"default_action": "block"});
    expect_ok(server.put(&bob, &config, block).await);
    expect(
        &server.ask_in(&alice, &late, &bob).await,
        403,
        "M_INVITE_BLOCKED",
    );
    let member = format!("m.room.member/{}", bob.id);
    let content = json!({"membership": "invite"});
    let set = server.set_place(&alice, &late, &member, content).await;
    expect(&set, 403, "M_INVITE_BLOCKED");
    let told = server.first_sync(&bob).await;
    assert!(told["rooms"]["invite"].is_null(), "{told}");
    expect_ok(server.put(&bob, &config, json!({})).await);
    let told = server.first_sync(&bob).await;
    assert!(told["rooms"]["invite"][&early].is_object(), "{told}");
    expect_ok(server.ask_in(&alice, &late, &bob).await);
}

#[tokio::test]
async fn a_room_is_of_the_configured_version_unless_told_otherwise() {
    let server =
        Server::with(|config| config.rooms.default_version = ruma::RoomVersionId::V10).await;
    let alice = server.register("alice").await;
    let capabilities = expect_ok(server.get(&alice, "/capabilities").await);
    assert_eq!(
        capabilities["capabilities"]["m.room_versions"]["default"],
        "10"
    );
    for (asked, version) in [(json!({}), "10"), (json!({"room_version": "11"}), "11")] {
        let room = server.made_room(&alice, asked).await;
        let path = format!("/rooms/{room}/state/m.room.create/");
        let create = expect_ok(server.get(&alice, &path).await);
        assert_eq!(create["room_version"], version);
    }
}
