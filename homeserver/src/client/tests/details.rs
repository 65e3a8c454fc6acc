//! Details of the specification that a client may rely on.

use super::{
    sync::{filter, next},
    *,
};

#[tokio::test]
async fn capabilities_say_what_may_be_changed() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let answer = expect_ok(server.get(&alice, "/capabilities").await);
    let capabilities = &answer["capabilities"];
    for name in ["m.change_password", "m.set_displayname", "m.set_avatar_url"] {
        assert_eq!(capabilities[name]["enabled"], true, "{name}");
    }
    assert_eq!(capabilities["m.room_versions"]["default"], "12");
    assert_eq!(capabilities["m.3pid_changes"]["enabled"], false);
}

#[tokio::test]
async fn who_has_left_may_leave_again() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    let leave = format!("/rooms/{room}/leave");
    expect(
        &server.post(&bob, &leave, json!({})).await,
        403,
        "M_FORBIDDEN",
    );
    server.join(&bob, &room).await;
    expect_ok(server.post(&bob, &leave, json!({})).await);
    let since = next(&server.sync(&alice, "", "").await);
    expect_ok(server.post(&bob, &leave, json!({})).await);
    let answer = server.sync(&alice, &since, "").await;
    assert!(answer.get("rooms").is_none(), "{answer}");
    let ban = format!("/rooms/{room}/ban");
    expect_ok(server.post(&alice, &ban, json!({"user_id": bob.id})).await);
    expect(
        &server.post(&bob, &leave, json!({})).await,
        403,
        "M_FORBIDDEN",
    );
}

#[tokio::test]
async fn who_is_locked_may_log_out() {
    let server = Server::with(|config| {
        config.admin.users = vec![ruma::user_id!("@admin:example.org").to_owned()];
    })
    .await;
    let (admin, alice) = (
        server.register("admin").await,
        server.register("alice").await,
    );
    let other = server.login("alice").await;
    let lock = format!("/_matrix/client/v1/admin/lock/{}", alice.id);
    expect_ok(server.put(&admin, &lock, json!({"locked": true})).await);
    let path = "/account/whoami";
    expect(&server.get(&alice, path).await, 401, "M_USER_LOCKED");
    expect_ok(server.post(&alice, "/logout", json!({})).await);
    expect(&server.get(&alice, path).await, 401, "M_UNKNOWN_TOKEN");
    expect(&server.get(&other, path).await, 401, "M_USER_LOCKED");
    expect_ok(server.post(&other, "/logout/all", json!({})).await);
    expect(&server.get(&other, path).await, 401, "M_UNKNOWN_TOKEN");
    let gone = server.post(&other, "/logout", json!({})).await;
    expect(&gone, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_backup_is_of_the_version_that_it_names() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let mut body = json!({"algorithm": "m.x", "auth_data": {}});
    let made = expect_ok(
        server
            .post(&alice, "/room_keys/version", body.clone())
            .await,
    );
    assert_eq!(made["version"], "1");
    let path = "/room_keys/version/1";
    body["version"] = "2".into();
    let answer = server.put(&alice, path, body.clone()).await;
    expect(&answer, 400, "M_INVALID_PARAM");
    body["version"] = "1".into();
    expect_ok(server.put(&alice, path, body).await);
}

#[tokio::test]
async fn members_are_chosen_by_either_of_two_conditions() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let carol = server.register("carol").await;
    let room = server.room(&alice, json!({"invite": [bob.id]})).await;
    server.join(&carol, &room).await;
    let leave = format!("/rooms/{room}/leave");
    expect_ok(server.post(&carol, &leave, json!({})).await);
    let members = async |query: &str| {
        let path = format!("/rooms/{room}/members{query}");
        let answer = expect_ok(server.get(&alice, &path).await);
        let chunk = answer["chunk"].as_array().unwrap().iter();
        let mut users: Vec<String> = chunk
            .map(|event| event["state_key"].as_str().unwrap().to_owned())
            .collect();
        users.sort();
        users
    };
    assert_eq!(members("?membership=join").await, [&*alice.id]);
    assert_eq!(
        members("?not_membership=leave").await,
        [&*alice.id, &*bob.id]
    );
    let both = "?membership=join&not_membership=leave";
    assert_eq!(members(both).await, [&*alice.id, &*bob.id]);
}

#[tokio::test]
async fn a_page_begins_where_it_was_asked_for() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let since = next(&server.sync(&alice, "", "").await);
    let path = format!("/rooms/{room}/messages?dir=b&limit=2&from={since}");
    let page = expect_ok(server.get(&alice, &path).await);
    assert_eq!(page["start"], json!(since));
    assert_eq!(page["chunk"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_context_is_filtered_whole_and_filled() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    server.say(&alice, &room, "early").await;
    for number in 0..30 {
        let path = format!("/rooms/{room}/state/m.room.topic/");
        let topic = json!({"topic": format!("{number}")});
        expect_ok(server.put(&alice, &path, topic).await);
    }
    let id = server.say(&alice, &room, "late").await;
    let only = filter(&json!({"types": ["m.room.message"]}));
    let path = format!("/rooms/{room}/context/{id}?limit=4{only}");
    let answer = expect_ok(server.get(&alice, &path).await);
    assert_eq!(answer["state"], json!([]));
    let before = answer["events_before"].as_array().unwrap();
    assert_eq!(before.len(), 1, "{answer}");
    assert_eq!(before[0]["content"]["body"], "early");
    let all = format!("/rooms/{room}/context/{id}?limit=4");
    let answer = expect_ok(server.get(&alice, &all).await);
    assert_eq!(answer["events_before"].as_array().unwrap().len(), 2);
    assert_ne!(answer["state"], json!([]));
}

#[tokio::test]
async fn what_replaced_something_tells_it_to_those_who_saw_it() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let joined = json!([{
        "type": "m.room.history_visibility", "state_key": "",
        "content": {"history_visibility": "joined"},
    }]);
    let room = server.room(&alice, json!({"initial_state": joined})).await;
    let path = format!("/rooms/{room}/state/m.room.topic/");
    expect_ok(server.put(&alice, &path, json!({"topic": "A"})).await);
    server.join(&bob, &room).await;
    expect_ok(server.put(&alice, &path, json!({"topic": "B"})).await);
    let changed = async |user: &User| {
        let path = format!("/rooms/{room}/messages?dir=b&limit=1");
        let page = expect_ok(server.get(user, &path).await);
        page["chunk"][0]["unsigned"].clone()
    };
    let seen = changed(&alice).await;
    assert_eq!(seen["prev_content"]["topic"], "A");
    let hidden = changed(&bob).await;
    assert_eq!(hidden["replaces_state"], seen["replaces_state"]);
    assert!(hidden.get("prev_content").is_none(), "{hidden}");
}

#[tokio::test]
async fn relations_of_a_room_that_one_cannot_read_are_not_found() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    let id = server.say(&alice, &room, "cake").await;
    let path = format!("/_matrix/client/v1/rooms/{room}/relations/{id}");
    expect(&server.get(&bob, &path).await, 404, "M_NOT_FOUND");
    expect_ok(server.get(&alice, &path).await);
}

#[tokio::test]
async fn a_token_is_judged_wherever_registration_is_open() {
    let path = "/_matrix/client/v1/register/m.login.registration_token/validity?token=nosuch";
    let server = Server::start().await;
    let answer = expect_ok(server.call("GET", path, "", Value::Null).await);
    assert_eq!(answer, json!({"valid": false}));
    let server = Server::with(|config| {
        config.registration.mode = crate::config::RegistrationMode::Closed;
    })
    .await;
    let answer = server.call("GET", path, "", Value::Null).await;
    expect(&answer, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn push_rules_are_the_same_wherever_they_are_read() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let id = ruma::UserId::parse(&alice.id).unwrap();
    // As an older server left them, that knew fewer rules.
    let change = crate::store::SetAccountData {
        user_id: id,
        room_id: None,
        event_type: "m.push_rules".to_owned(),
        content: r#"{"global":{}}"#.to_owned(),
    };
    server.app.store.commit(change).await.unwrap();
    let path = format!("/user/{}/account_data/m.push_rules", alice.id);
    let data = expect_ok(server.get(&alice, &path).await);
    let rules = expect_ok(server.get(&alice, "/pushrules/").await);
    assert_eq!(data, rules);
    assert_ne!(rules["global"]["override"], json!([]));
}

#[tokio::test]
async fn signing_keys_begin_with_a_master_key() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = "/keys/device_signing/upload";
    let answer = server.post(&alice, path, json!({})).await;
    expect(&answer, 400, "M_MISSING_PARAM");
}

#[tokio::test]
async fn who_is_invited_again_has_left_all_the_same() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let from = next(&server.sync(&bob, "", "").await);
    let leave = format!("/rooms/{room}/leave");
    expect_ok(server.post(&bob, &leave, json!({})).await);
    let invite = format!("/rooms/{room}/invite");
    expect_ok(
        server
            .post(&alice, &invite, json!({"user_id": bob.id}))
            .await,
    );
    let to = next(&server.sync(&bob, &from, "").await);
    let path = format!("/keys/changes?from={from}&to={to}");
    let told = expect_ok(server.get(&bob, &path).await);
    assert_eq!(told["left"], json!([alice.id]), "{told}");
}

#[tokio::test]
async fn a_tag_keeps_what_else_it_says() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let tags = format!("/user/{}/rooms/{room}/tags", alice.id);
    let tag = json!({"order": 0.5, "org.example.colour": "red"});
    expect_ok(
        server
            .put(&alice, &format!("{tags}/u.work"), tag.clone())
            .await,
    );
    expect_ok(
        server
            .put(&alice, &format!("{tags}/u.bare"), json!({}))
            .await,
    );
    let kept = expect_ok(server.get(&alice, &tags).await);
    assert_eq!(kept["tags"]["u.work"], tag, "{kept}");
    assert_eq!(kept["tags"]["u.bare"], json!({}));
}

#[tokio::test]
async fn what_the_server_manages_is_no_account_data_of_a_room_either() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    for kind in ["m.push_rules", "m.fully_read"] {
        for place in ["", &format!("/rooms/{room}")] {
            let path = format!("/user/{}{place}/account_data/{kind}", alice.id);
            let answer = server.put(&alice, &path, json!({})).await;
            assert_eq!(answer.0, 405, "{path} {}", answer.1);
        }
    }
}

#[tokio::test]
async fn an_avatar_is_an_mxc_uri() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = format!("/profile/{}/avatar_url", alice.id);
    let set = async |uri: Value| server.put(&alice, &path, json!({"avatar_url": uri})).await;
    for wrong in [
        "https://example.org/a.png",
        "mxc://",
        "mxc://example.org",
        "a",
    ] {
        expect(&set(json!(wrong)).await, 400, "M_INVALID_PARAM");
    }
    expect_ok(set(json!("mxc://example.org/a")).await);
    expect_ok(set(json!("")).await);
}

#[tokio::test]
async fn what_one_was_never_in_is_not_forgotten() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    let path = format!("/rooms/{room}/forget");
    let answer = server.post(&bob, &path, json!({})).await;
    expect(&answer, 400, "M_UNKNOWN");
    server.join(&bob, &room).await;
    let answer = server.post(&bob, &path, json!({})).await;
    expect(&answer, 400, "M_UNKNOWN");
}

#[tokio::test]
async fn a_filter_is_read_as_it_was_posted() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = format!("/user/{}/filter", alice.id);
    let posted = json!({
        "event_format": "client", "event_fields": ["type", "content"],
        "room": {
            "include_leave": false, "org.example.more": {"a": 1},
            "timeline": {"limit": 10, "not_senders": [], "lazy_load_members": false},
        },
    });
    let answer = expect_ok(server.post(&alice, &path, posted.clone()).await);
    let id = answer["filter_id"].as_str().unwrap();
    let read = expect_ok(server.get(&alice, &format!("{path}/{id}")).await);
    assert_eq!(read, posted);
    server.sync(&alice, "", &format!("&filter={id}")).await;
}

#[tokio::test]
async fn what_has_been_read_is_an_event_of_the_room() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let (room, other) = (
        server.room(&alice, json!({})).await,
        server.room(&alice, json!({})).await,
    );
    let here = server.say(&alice, &room, "here").await;
    let there = server.say(&alice, &other, "there").await;
    let markers = format!("/rooms/{room}/read_markers");
    let receipt = |event: &str| format!("/rooms/{room}/receipt/m.fully_read/{event}");
    expect_ok(
        server
            .post(&alice, &markers, json!({"m.fully_read": here}))
            .await,
    );
    for event in [&*there, "$nothing"] {
        let body = json!({"m.fully_read": event});
        let answer = server.post(&alice, &markers, body).await;
        expect(&answer, 404, "M_NOT_FOUND");
        let answer = server.post(&alice, &receipt(event), json!({})).await;
        expect(&answer, 404, "M_NOT_FOUND");
    }
    let path = format!("/user/{}/rooms/{room}/account_data/m.fully_read", alice.id);
    let marker = expect_ok(server.get(&alice, &path).await);
    assert_eq!(marker, json!({"event_id": here}));
}

#[tokio::test]
async fn account_data_set_outside_of_a_room_is_told_on_entering() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    let before = server.sync(&bob, "", "").await;
    let tag = format!("/user/{}/rooms/{room}/tags/m.favourite", bob.id);
    expect_ok(server.put(&bob, &tag, json!({"order": 0.5})).await);
    let outside = server.sync(&bob, &sync::next(&before), "").await;
    assert!(outside["rooms"]["join"][&room].is_null(), "{outside}");
    let favourite =
        json!([{"type": "m.tag", "content": {"tags": {"m.favourite": {"order": 0.5}}}}]);
    let data = |answer: &Value, section: &str| {
        answer["rooms"][section][&room]["account_data"]["events"].clone()
    };
    server.join(&bob, &room).await;
    let entered = server.sync(&bob, &sync::next(&outside), "").await;
    assert_eq!(data(&entered, "join"), favourite);
    // Only once, while one stays.
    server.say(&alice, &room, "one").await;
    let later = server.sync(&bob, &sync::next(&entered), "").await;
    assert!(data(&later, "join").is_null(), "{later}");
    // A client drops a room that was left, and what it knew of it.
    let leave = format!("/rooms/{room}/leave");
    expect_ok(server.post(&bob, &leave, json!({})).await);
    let left = server.sync(&bob, &sync::next(&later), "").await;
    server.join(&bob, &room).await;
    let again = server.sync(&bob, &sync::next(&left), "").await;
    assert_eq!(data(&again, "join"), favourite);
    expect_ok(server.post(&bob, &leave, json!({})).await);
    let with_left = sync::filter(&json!({"room": {"include_leave": true}}));
    let whole = server.sync(&bob, "", &with_left).await;
    assert_eq!(data(&whole, "leave"), favourite);
}
