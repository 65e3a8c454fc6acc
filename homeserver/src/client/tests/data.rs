//! Profiles, account data, tags, filters, pushers, OpenID tokens.

use ruma::UserId;

use super::*;
use crate::{
    accounts::openid_token_hash,
    store::{LogEnd, LogKind, Scope},
};

#[tokio::test]
async fn a_profile_is_shown_to_users_and_changed_by_its_owner() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let path = format!("/profile/{}", alice.id);
    assert_eq!(expect_ok(server.get(&bob, &path).await), json!({}));
    let field = |name: &str| format!("{path}/{name}");
    expect_ok(
        server
            .put(
                &alice,
                &field("displayname"),
                json!({"displayname": "Alice"}),
            )
            .await,
    );
    expect_ok(
        server
            .put(
                &alice,
                &field("org.example.desk"),
                json!({"org.example.desk": [7]}),
            )
            .await,
    );
    let shown = expect_ok(server.get(&bob, &path).await);
    assert_eq!(
        shown,
        json!({"displayname": "Alice", "org.example.desk": [7]})
    );
    let one = expect_ok(server.get(&bob, &field("org.example.desk")).await);
    assert_eq!(one, json!({"org.example.desk": [7]}));
    let other = server
        .put(&bob, &field("displayname"), json!({"displayname": "Bob"}))
        .await;
    expect(&other, 403, "M_FORBIDDEN");
    expect_ok(
        server
            .put(&alice, &field("displayname"), json!({"displayname": ""}))
            .await,
    );
    expect_ok(
        server
            .call(
                "DELETE",
                &field("org.example.desk"),
                &alice.token,
                Value::Null,
            )
            .await,
    );
    expect(
        &server.get(&bob, &field("displayname")).await,
        404,
        "M_NOT_FOUND",
    );
    assert_eq!(expect_ok(server.get(&bob, &path).await), json!({}));
    expect(
        &server.get(&bob, "/profile/@nobody:example.org").await,
        404,
        "M_NOT_FOUND",
    );
    expect(
        &server.get(&bob, "/profile/nobody").await,
        400,
        "M_INVALID_PARAM",
    );
}

#[tokio::test]
async fn a_profile_is_shown_to_strangers_but_not_to_a_bad_token() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = format!("/profile/{}", alice.id);
    let field = format!("{path}/displayname");
    let name = json!({"displayname": "Alice"});
    expect_ok(server.put(&alice, &field, name.clone()).await);
    for path in [&path, &field] {
        let stranger = server.call("GET", path, "", Value::Null).await;
        assert_eq!(expect_ok(stranger), name);
    }
    let bad = server.call("GET", &path, "bad", Value::Null).await;
    expect(&bad, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_server_may_show_profiles_to_its_users_alone() {
    let server = Server::with(|config| config.profiles.public = false).await;
    let alice = server.register("alice").await;
    let path = format!("/profile/{}", alice.id);
    let stranger = server.call("GET", &path, "", Value::Null).await;
    expect(&stranger, 403, "M_FORBIDDEN");
    expect_ok(server.get(&alice, &path).await);
}

#[tokio::test]
async fn a_profile_has_a_greatest_length() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = |name: &str| format!("/profile/{}/{name}", alice.id);
    let long = json!({"displayname": "x".repeat(300)});
    expect(
        &server.put(&alice, &path("displayname"), long).await,
        400,
        "M_INVALID_PARAM",
    );
    let half = "x".repeat(40_000);
    expect_ok(
        server
            .put(&alice, &path("org.a"), json!({"org.a": half}))
            .await,
    );
    let more = server
        .put(&alice, &path("org.b"), json!({"org.b": half}))
        .await;
    expect(&more, 400, "M_PROFILE_TOO_LARGE");
    let name = "k".repeat(300);
    let answer = server.put(&alice, &path(&name), json!({&name: 1})).await;
    expect(&answer, 400, "M_KEY_TOO_LARGE");
    let wrong = server
        .put(&alice, &path("org.b"), json!({"org.c": 1}))
        .await;
    expect(&wrong, 400, "M_MISSING_PARAM");
}

#[tokio::test]
async fn account_data_is_kept_for_its_owner_and_told_to_his_devices() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let id = UserId::parse(&alice.id).unwrap();
    let before = server.app.store.heads().head();
    let global = format!("/user/{}/account_data/m.direct", alice.id);
    let room = format!("/user/{}/rooms/!r:example.org/account_data/org.x", alice.id);
    expect(&server.get(&alice, &global).await, 404, "M_NOT_FOUND");
    expect_ok(
        server
            .put(
                &alice,
                &global,
                json!({"@bob:example.org": ["!r:example.org"]}),
            )
            .await,
    );
    expect_ok(server.put(&alice, &room, json!({"n": 1})).await);
    expect_ok(server.put(&alice, &room, json!({"n": 1})).await);
    let kept = expect_ok(server.get(&alice, &global).await);
    assert_eq!(kept, json!({"@bob:example.org": ["!r:example.org"]}));
    assert_eq!(expect_ok(server.get(&alice, &room).await), json!({"n": 1}));
    let rows = server
        .app
        .store
        .log_of(Scope::User(&id), before, i64::MAX, LogEnd::Oldest, 10);
    let told: Vec<_> = rows
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.kind, row.reference.unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            (LogKind::AccountData, "m.direct".to_owned()),
            (LogKind::RoomAccountData, "!r:example.org org.x".to_owned()),
        ]
    );
}

#[tokio::test]
async fn account_data_is_nobody_elses_and_not_everything() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let global = format!("/user/{}/account_data/m.direct", alice.id);
    expect(&server.get(&bob, &global).await, 403, "M_FORBIDDEN");
    expect(
        &server.put(&bob, &global, json!({})).await,
        403,
        "M_FORBIDDEN",
    );
    for managed in ["m.push_rules", "m.fully_read"] {
        let path = format!("/user/{}/account_data/{managed}", alice.id);
        expect(
            &server.put(&alice, &path, json!({})).await,
            405,
            "M_BAD_JSON",
        );
    }
    expect(
        &server.put(&alice, &global, json!([])).await,
        400,
        "M_BAD_JSON",
    );
    expect(
        &server
            .put(&alice, &global, json!({"x": "x".repeat(70_000)}))
            .await,
        413,
        "M_TOO_LARGE",
    );
    expect(
        &server
            .send("PUT", &global, &alice.token, "{\"a\":".into())
            .await,
        400,
        "M_NOT_JSON",
    );
}

#[tokio::test]
async fn tags_set_at_once_are_both_kept() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = format!("/user/{}/rooms/!r:example.org/tags", alice.id);
    assert_eq!(
        expect_ok(server.get(&alice, &path).await),
        json!({"tags": {}})
    );
    let (favourite, work) = (format!("{path}/m.favourite"), format!("{path}/u.work"));
    let (one, two) = tokio::join!(
        server.put(&alice, &favourite, json!({"order": 0.5})),
        server.put(&alice, &work, json!({}))
    );
    assert_eq!((one.0, two.0), (200, 200));
    let tags = expect_ok(server.get(&alice, &path).await);
    assert_eq!(
        tags,
        json!({"tags": {"m.favourite": {"order": 0.5}, "u.work": {}}})
    );
    expect_ok(
        server
            .call("DELETE", &work, &alice.token, Value::Null)
            .await,
    );
    let tags = expect_ok(server.get(&alice, &path).await);
    assert_eq!(tags, json!({"tags": {"m.favourite": {"order": 0.5}}}));
    let long = format!("{path}/{}", "t".repeat(300));
    expect(
        &server.put(&alice, &long, json!({})).await,
        413,
        "M_TOO_LARGE",
    );
}

#[tokio::test]
async fn a_filter_stored_twice_has_one_id() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let path = format!("/user/{}/filter", alice.id);
    let filter = json!({"room": {"timeline": {"limit": 10}}});
    let id = expect_ok(server.post(&alice, &path, filter.clone()).await)["filter_id"].clone();
    assert_eq!(
        expect_ok(server.post(&alice, &path, filter.clone()).await)["filter_id"],
        id
    );
    let one = format!("{path}/{}", id.as_str().unwrap());
    assert_eq!(expect_ok(server.get(&alice, &one).await), filter);
    expect(
        &server.get(&alice, &format!("{path}/nosuch")).await,
        404,
        "M_NOT_FOUND",
    );
    expect(&server.get(&bob, &one).await, 403, "M_FORBIDDEN");
    expect(
        &server.post(&alice, &path, json!({"room": 3})).await,
        400,
        "M_BAD_JSON",
    );
}

#[tokio::test]
async fn pushers_are_told_event_ids_only_and_go_with_their_device() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let other = server.login("alice").await;
    let pusher = |url: &str, format: &str| {
        json!({
            "pushkey": "key", "kind": "http", "app_id": "org.example.app", "lang": "en",
            "app_display_name": "App", "device_display_name": "Phone",
            "data": {"url": url, "format": format},
        })
    };
    let url = "https://push.example.org/_matrix/push/v1/notify";
    expect_ok(
        server
            .post(&other, "/pushers/set", pusher(url, "event_id_only"))
            .await,
    );
    let plain = pusher(
        "http://push.example.org/_matrix/push/v1/notify",
        "event_id_only",
    );
    expect(
        &server.post(&alice, "/pushers/set", plain).await,
        400,
        "M_INVALID_PARAM",
    );
    let listed = expect_ok(server.get(&alice, "/pushers").await);
    assert_eq!(listed["pushers"][0]["data"]["url"], url);
    expect_ok(server.post(&other, "/logout", json!({})).await);
    assert_eq!(
        expect_ok(server.get(&alice, "/pushers").await),
        json!({"pushers": []})
    );
    expect_ok(
        server
            .post(&alice, "/pushers/set", pusher(url, "event_id_only"))
            .await,
    );
    let gone = json!({"pushkey": "key", "app_id": "org.example.app", "kind": null});
    expect_ok(server.post(&alice, "/pushers/set", gone).await);
    assert_eq!(
        expect_ok(server.get(&alice, "/pushers").await),
        json!({"pushers": []})
    );
}

#[tokio::test]
async fn an_openid_token_names_its_user_for_an_hour() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let path = format!("/user/{}/openid/request_token", alice.id);
    let token = expect_ok(server.post(&alice, &path, json!({})).await);
    assert_eq!(token["matrix_server_name"], "example.org");
    let hash = openid_token_hash(token["access_token"].as_str().unwrap());
    let now_ms = server.app.clock.now_ms();
    let store = &server.app.store;
    assert_eq!(
        store.openid_user(&hash, now_ms).await.unwrap().unwrap(),
        alice.id
    );
    assert!(
        store
            .openid_user(&hash, now_ms + 3_600_000)
            .await
            .unwrap()
            .is_none()
    );
    expect(
        &server.post(&bob, &path, json!({})).await,
        403,
        "M_FORBIDDEN",
    );
    let answer = server.call(
        "GET",
        "/account/whoami",
        token["access_token"].as_str().unwrap(),
        Value::Null,
    );
    expect(&answer.await, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn a_new_name_reaches_the_rooms_and_only_those_who_share_one_find_it() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let carol = server.register("carol").await;
    let body = json!({"preset": "private_chat", "invite": [bob.id]});
    let (status, room) = server.post(&alice, "/createRoom", body).await;
    assert_eq!(status, 200, "{room}");
    let room = room["room_id"].as_str().unwrap().to_owned();
    expect_ok(
        server
            .post(&bob, &format!("/rooms/{room}/join"), json!({}))
            .await,
    );
    let name = format!("/profile/{}/displayname", alice.id);
    expect_ok(
        server
            .put(&alice, &name, json!({"displayname": "Ada"}))
            .await,
    );
    let path = format!("/rooms/{room}/state/m.room.member/{}", alice.id);
    assert_eq!(
        expect_ok(server.get(&bob, &path).await)["displayname"],
        "Ada"
    );
    let search = async |by: &User| {
        let body = json!({"search_term": "ada"});
        expect_ok(server.post(by, "/user_directory/search", body).await)
    };
    let found = json!([{"user_id": alice.id, "display_name": "Ada"}]);
    assert_eq!(
        search(&bob).await,
        json!({"results": found, "limited": false})
    );
    assert_eq!(search(&carol).await["results"], json!([]));
    // Whoever is in a room that anybody may join is seen by everybody.
    server.clock.advance(std::time::Duration::from_millis(5));
    let body = json!({"preset": "public_chat"});
    expect_ok(server.post(&alice, "/createRoom", body).await);
    assert_eq!(search(&carol).await["results"], found);
}
