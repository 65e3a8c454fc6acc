//! What the specification says of requests that are a little unusual.

use std::time::Duration;

use super::{
    sync::{filter, next, places},
    *,
};

#[tokio::test]
async fn a_device_keeps_its_name_unless_another_is_given() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = format!("/devices/{}", alice.device);
    expect_ok(
        server
            .put(&alice, &path, json!({"display_name": "Desk"}))
            .await,
    );
    expect_ok(server.put(&alice, &path, json!({})).await);
    let device = expect_ok(server.get(&alice, &path).await);
    assert_eq!(device["display_name"], "Desk");
    let unknown = server.put(&alice, "/devices/NONE", json!({})).await;
    expect(&unknown, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn only_who_is_there_is_kicked() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    let kick = format!("/rooms/{room}/kick");
    let body = json!({"user_id": bob.id});
    expect(
        &server.post(&alice, &kick, body.clone()).await,
        403,
        "M_FORBIDDEN",
    );
    let ban = format!("/rooms/{room}/ban");
    expect_ok(server.post(&alice, &ban, body.clone()).await);
    expect(
        &server.post(&alice, &kick, body.clone()).await,
        403,
        "M_FORBIDDEN",
    );
    let member = format!("/rooms/{room}/state/m.room.member/{}", bob.id);
    let member = expect_ok(server.get(&alice, &member).await);
    assert_eq!(member["membership"], "ban");
    expect_ok(
        server
            .post(&alice, &format!("/rooms/{room}/unban"), body.clone())
            .await,
    );
    server.join(&bob, &room).await;
    expect_ok(server.post(&alice, &kick, body).await);
}

#[tokio::test]
async fn a_taken_alias_makes_no_room() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let body = json!({"room_alias_name": "desk"});
    let (one, two) = tokio::join!(
        server.post(&alice, "/createRoom", body.clone()),
        server.post(&alice, "/createRoom", body.clone())
    );
    let refused = if one.0 == 200 { two } else { one };
    expect(&refused, 400, "M_ROOM_IN_USE");
    expect(
        &server.post(&alice, "/createRoom", body).await,
        400,
        "M_ROOM_IN_USE",
    );
    let joined = expect_ok(server.get(&alice, "/joined_rooms").await);
    assert_eq!(joined["joined_rooms"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_canonical_alias_leads_to_its_room() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({"room_alias_name": "one"})).await;
    server.clock.advance(Duration::from_millis(1));
    server
        .room(&alice, json!({"room_alias_name": "other"}))
        .await;
    let path = format!("/rooms/{room}/state/m.room.canonical_alias/");
    for (content, errcode) in [
        (json!({"alias": "#nowhere:example.org"}), "M_BAD_ALIAS"),
        (json!({"alias": "#other:example.org"}), "M_BAD_ALIAS"),
        (json!({"alias": "one"}), "M_INVALID_PARAM"),
        (
            json!({"alt_aliases": ["#nowhere:example.org"]}),
            "M_BAD_ALIAS",
        ),
        (json!({"alt_aliases": ["one"]}), "M_INVALID_PARAM"),
    ] {
        expect(&server.put(&alice, &path, content).await, 400, errcode);
    }
    let both = json!({"alias": "#one:example.org", "alt_aliases": ["#one:example.org"]});
    expect_ok(server.put(&alice, &path, both.clone()).await);
    // What stands there already may stay, although the alias is gone.
    expect_ok(
        server
            .call(
                "DELETE",
                "/directory/room/%23one:example.org",
                &alice.token,
                Value::Null,
            )
            .await,
    );
    let kept = json!({"alt_aliases": ["#one:example.org"]});
    let put = server.put(&alice, &path, kept).await;
    // Removing the alias may have taken it out of the event as well.
    assert!(
        put.0 == 200 || put.1["errcode"] == "M_BAD_ALIAS",
        "{}",
        put.1
    );
    expect_ok(server.put(&alice, &path, json!({})).await);
}

#[tokio::test]
async fn a_deleted_device_takes_its_transactions_along() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let login = || {
        let mut body = login_body("alice", PASSWORD);
        body["device_id"] = json!("DEVICE");
        server.call("POST", "/login", "", body)
    };
    let first = user_of(&expect_ok(login().await));
    let one = server.say(&first, &room, "txn").await;
    assert_eq!(server.say(&first, &room, "txn").await, one);
    expect_ok(server.post(&first, "/logout", Value::Null).await);
    let second = user_of(&expect_ok(login().await));
    assert_ne!(server.say(&second, &room, "txn").await, one);
}

#[tokio::test]
async fn typing_needs_no_timeout_and_ends_with_the_membership() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let path = format!("/rooms/{room}/typing/{}", bob.id);
    expect_ok(server.put(&bob, &path, json!({"typing": true})).await);
    let bad = server.put(&bob, &path, json!({"timeout": 5})).await;
    assert_eq!(bad.0, 400);
    let events = |answer: &Value| answer["rooms"]["join"][&room]["ephemeral"]["events"].clone();
    let typing = |users: &[&str]| json!([{"type": "m.typing", "content": {"user_ids": users}}]);
    let answer = server.sync(&alice, "", "").await;
    assert_eq!(events(&answer), typing(&[&bob.id]));
    let body = json!({"user_id": bob.id});
    expect_ok(
        server
            .post(&alice, &format!("/rooms/{room}/kick"), body)
            .await,
    );
    let answer = server.sync(&alice, &next(&answer), "").await;
    assert_eq!(events(&answer), typing(&[]));
}

#[tokio::test]
async fn typing_that_a_restart_ended_is_told_as_ended() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let path = format!("/rooms/{room}/typing/{}", alice.id);
    expect_ok(
        server
            .put(&alice, &path, json!({"typing": true, "timeout": 60_000}))
            .await,
    );
    let since = next(&server.sync(&alice, "", "").await);
    server.clock.advance(Duration::from_secs(1));
    let server = server.restart().await;
    let events = |answer: &Value| answer["rooms"]["join"][&room]["ephemeral"]["events"].clone();
    let answer = server.sync(&alice, &since, "").await;
    let nobody = json!([{"type": "m.typing", "content": {"user_ids": []}}]);
    assert_eq!(events(&answer), nobody, "{answer}");
    let again = server.sync(&alice, &next(&answer), "").await;
    assert!(again.get("rooms").is_none(), "{again}");
}

#[tokio::test]
async fn the_directory_of_users_shows_those_in_public_rooms() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let carol = server.register("carol").await;
    server.room(&bob, json!({})).await;
    server.room(&carol, json!({"preset": "private_chat"})).await;
    let search = |term: &str| {
        let body = json!({"search_term": term});
        let alice = alice.clone();
        let server = &server;
        async move { expect_ok(server.post(&alice, "/user_directory/search", body).await) }
    };
    assert_eq!(search("bob").await["results"][0]["user_id"], bob.id);
    // Whoever knows the whole name of somebody here sees no more than their profile shows; nobody finds them by a part of it.
    assert_eq!(search("caro").await["results"], json!([]));
    assert_eq!(
        search("carol").await["results"],
        json!([{"user_id": carol.id}])
    );
}

#[tokio::test]
async fn the_directory_of_users_begins_with_who_fits_best() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    for name in ["aboba", "bobby", "bobbin", "bob", "dora"] {
        let user = server.register(name).await;
        server.join(&user, &room).await;
        let named = [("bobby", "Robert"), ("dora", "Bob")];
        if let Some((_, shown)) = named.iter().find(|(named, _)| *named == name) {
            let path = format!("/profile/{}/displayname", user.id);
            expect_ok(
                server
                    .put(&user, &path, json!({"displayname": shown}))
                    .await,
            );
        }
    }
    let search = async |limit: u8| {
        let body = json!({"search_term": "BOB", "limit": limit});
        let answer = expect_ok(server.post(&alice, "/user_directory/search", body).await);
        let found = answer["results"].as_array().unwrap().iter();
        let local = |user: &Value| {
            let id = user["user_id"].as_str().unwrap();
            id[1..].split(':').next().unwrap().to_owned()
        };
        let names: Vec<String> = found.map(local).collect();
        (names.join(" "), answer["limited"].clone())
    };
    let all = "dora bob bobby bobbin aboba".to_owned();
    assert_eq!(search(10).await, (all, json!(false)));
    assert_eq!(search(2).await, ("dora bob".to_owned(), json!(true)));
}

#[tokio::test]
async fn aliases_of_a_world_readable_room_are_for_everybody() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let readable = json!([{
        "type": "m.room.history_visibility", "state_key": "",
        "content": {"history_visibility": "world_readable"},
    }]);
    let room = server
        .room(
            &alice,
            json!({"room_alias_name": "open", "initial_state": readable}),
        )
        .await;
    let aliases = expect_ok(server.get(&bob, &format!("/rooms/{room}/aliases")).await);
    assert_eq!(aliases["aliases"], json!(["#open:example.org"]));
    server.clock.advance(Duration::from_millis(1));
    let room = server.room(&alice, json!({})).await;
    let refused = server.get(&bob, &format!("/rooms/{room}/aliases")).await;
    expect(&refused, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn a_filter_of_rooms_hides_nobodys_keys() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let encryption = json!([{
        "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }]);
    let room = server
        .room(&alice, json!({"initial_state": encryption}))
        .await;
    let since = next(&server.sync(&alice, "", "").await);
    server.join(&bob, &room).await;
    for definition in [
        json!({"room": {"not_rooms": [room]}}),
        json!({"room": {"timeline": {"not_rooms": [room]}}}),
        json!({"room": {"state": {"not_rooms": [room]}, "timeline": {"limit": 1}}}),
    ] {
        for full in ["", "&full_state=true"] {
            let query = format!("{}{full}", filter(&definition));
            let answer = server.sync(&alice, &since, &query).await;
            let changed = &answer["device_lists"]["changed"];
            assert_eq!(*changed, json!([bob.id]), "{definition} {full}");
        }
    }
    let hidden = filter(&json!({"room": {"not_rooms": [room]}}));
    let answer = server.sync(&alice, &since, &hidden).await;
    assert!(answer["rooms"]["join"].get(&room).is_none(), "{answer}");
    expect_ok(
        server
            .post(&bob, &format!("/rooms/{room}/leave"), json!({}))
            .await,
    );
    let answer = server.sync(&alice, &next(&answer), &hidden).await;
    assert_eq!(answer["device_lists"]["left"], json!([bob.id]), "{answer}");
}

#[tokio::test]
async fn a_gap_with_the_whole_state_hides_nobodys_keys() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let encryption = json!([{
        "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }]);
    let room = server
        .room(&alice, json!({"initial_state": encryption}))
        .await;
    let since = next(&server.sync(&alice, "", "").await);
    server.join(&bob, &room).await;
    for number in 0..80 {
        server.say(&alice, &room, &format!("m{number}")).await;
    }
    let server = server.restart().await;
    let answer = server.sync(&alice, &since, "&full_state=true").await;
    assert_eq!(answer["device_lists"]["changed"], json!([bob.id]));
    let state = places(&answer["rooms"]["join"][&room]["state"]["events"]);
    assert!(state.iter().any(|place| place.0 == "m.room.create"));
}

#[tokio::test]
async fn the_same_name_again_tells_no_room() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = format!("/profile/{}/displayname", alice.id);
    let room = server.room(&alice, json!({})).await;
    expect_ok(server.put(&alice, &path, json!({"displayname": "A"})).await);
    let since = next(&server.sync(&alice, "", "").await);
    expect_ok(server.put(&alice, &path, json!({"displayname": "A"})).await);
    let answer = server.sync(&alice, &since, "").await;
    assert!(answer["rooms"]["join"].get(&room).is_none(), "{answer}");
}

#[tokio::test]
async fn names_of_profile_fields_follow_the_grammar() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = |name: &str| format!("/profile/{}/{name}", alice.id);
    for name in ["Upper", "7days", "sp%20ace", "_under"] {
        let plain = name.replace("%20", " ");
        let answer = server.put(&alice, &path(name), json!({plain: 1})).await;
        expect(&answer, 400, "M_INVALID_PARAM");
    }
    let missing = server
        .put(&alice, &path("org.x"), json!({"org.y": 1}))
        .await;
    expect(&missing, 400, "M_MISSING_PARAM");
    expect_ok(
        server
            .put(&alice, &path("m.tz"), json!({"m.tz": "Europe/Berlin"}))
            .await,
    );
}

#[tokio::test]
async fn a_pusher_is_replaced_at_the_limit() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let pusher = |number: usize, name: &str| {
        json!({
            "pushkey": format!("key{number}"), "kind": "http", "app_id": "org.app", "lang": "en",
            "app_display_name": name, "device_display_name": "phone",
            "data": {"url": "https://push.example.org/_matrix/push/v1/notify", "format": "event_id_only"},
        })
    };
    let mut refused = None;
    for number in 0..200 {
        let answer = server
            .post(&alice, "/pushers/set", pusher(number, "old"))
            .await;
        if answer.0 != 200 {
            refused = Some(number);
            break;
        }
    }
    assert!(refused.is_some(), "there is a limit");
    expect_ok(server.post(&alice, "/pushers/set", pusher(0, "new")).await);
    let list = expect_ok(server.get(&alice, "/pushers").await);
    assert!(list.to_string().contains("\"new\""));
}

#[tokio::test]
async fn an_ordinary_member_of_a_private_room_may_invite() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let carol = server.register("carol").await;
    let private = json!({"preset": "private_chat", "invite": [bob.id]});
    let room = server.room(&alice, private).await;
    server.join(&bob, &room).await;
    let body = json!({"user_id": carol.id});
    expect_ok(
        server
            .post(&bob, &format!("/rooms/{room}/invite"), body)
            .await,
    );
}

#[tokio::test]
async fn odd_queries_of_media_get_matrix_errors() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let twice = "/_matrix/media/v3/upload?filename=a&filename=b";
    let answer = server.call("POST", twice, &alice.token, json!({})).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    let path = "/_matrix/media/v3/upload/example.org/%FF";
    let answer = server.call("PUT", path, &alice.token, json!({})).await;
    expect(&answer, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn a_renamed_device_is_named_among_its_keys() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let keys = json!({"device_keys": {
        "user_id": alice.id, "device_id": alice.device, "algorithms": ["m.x"],
        "keys": {"my_algorithm:x": "dummy"}, "signatures": {},
    }});
    expect_ok(server.post(&alice, "/keys/upload", keys).await);
    let path = format!("/devices/{}", alice.device);
    expect_ok(
        server
            .put(&alice, &path, json!({"display_name": "Desk"}))
            .await,
    );
    let query = json!({"device_keys": {alice.id.clone(): []}});
    let answer = expect_ok(server.post(&alice, "/keys/query", query).await);
    let device = &answer["device_keys"][&alice.id][&alice.device];
    assert_eq!(
        device["unsigned"]["device_display_name"], "Desk",
        "{answer}"
    );
    assert_eq!(device["keys"]["my_algorithm:x"], "dummy");
}

#[tokio::test]
async fn keys_of_unknown_algorithms_are_the_clients_affair() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let keys = json!({"one_time_keys": {"my_algorithm:my_id": "my+base64+key"}});
    let answer = expect_ok(server.post(&alice, "/keys/upload", keys).await);
    assert_eq!(answer["one_time_key_counts"]["my_algorithm"], 1);
    let claim =
        json!({"one_time_keys": {alice.id.clone(): {alice.device.clone(): "my_algorithm"}}});
    let answer = expect_ok(server.post(&alice, "/keys/claim", claim).await);
    let keys = &answer["one_time_keys"][&alice.id][&alice.device];
    assert_eq!(keys["my_algorithm:my_id"], "my+base64+key");
}
