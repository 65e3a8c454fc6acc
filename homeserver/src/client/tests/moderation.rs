//! Reports, suspension, tokens for another device, notifications and the gateways that are told of them.

use std::sync::{Arc, Mutex};

use super::*;
use crate::outbound::{PushGateway, testing};

#[tokio::test]
async fn reports_reach_the_operator() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({"preset": "private_chat"})).await;
    let event = server.say(&alice, &room, "spam").await;
    let reason = json!({"reason": "this makes me sad"});
    let of_event = format!("/rooms/{room}/report/{event}");
    expect_ok(server.post(&alice, &of_event, reason.clone()).await);
    let answer = server.post(&bob, &of_event, reason.clone()).await;
    expect(&answer, 404, "M_NOT_FOUND");
    expect_ok(
        server
            .post(&bob, &format!("/rooms/{room}/report"), reason.clone())
            .await,
    );
    let answer = server
        .post(&bob, "/rooms/!nosuch:example.org/report", reason.clone())
        .await;
    expect(&answer, 404, "M_NOT_FOUND");
    expect_ok(
        server
            .post(&bob, "/users/@x:example.net/report", reason)
            .await,
    );
    let answer = server
        .post(&bob, "/users/@x:example.net/report", json!({}))
        .await;
    expect(&answer, 400, "M_BAD_JSON");
    let kept = server.app.store.reports().await.unwrap();
    assert_eq!(kept.len(), 3);
    assert!(kept.iter().any(|report| report.event_id.is_some()));
}

#[tokio::test]
async fn a_suspended_user_reads_and_leaves_but_says_nothing() {
    let server = Server::with(|config| {
        config.admin.users = vec![ruma::owned_user_id!("@root:example.org")];
    })
    .await;
    let (root, alice) = (
        server.register("root").await,
        server.register("alice").await,
    );
    let room = server.room(&alice, json!({})).await;
    let said = server.say(&alice, &room, "before").await;
    let other = server.room(&root, json!({})).await;
    let path = format!("/_matrix/client/v1/admin/suspend/{}", alice.id);
    expect(&server.get(&alice, &path).await, 403, "M_FORBIDDEN");
    expect_ok(server.put(&root, &path, json!({"suspended": true})).await);
    assert_eq!(
        expect_ok(server.get(&root, &path).await),
        json!({"suspended": true})
    );
    let text = json!({"msgtype": "m.text", "body": "x"});
    let message = format!("/rooms/{room}/send/m.room.message/9");
    let refused = "M_USER_SUSPENDED";
    expect(
        &server.put(&alice, &message, text.clone()).await,
        403,
        refused,
    );
    let join = format!("/rooms/{other}/join");
    expect(&server.post(&alice, &join, json!({})).await, 403, refused);
    let name = format!("/profile/{}/displayname", alice.id);
    let renamed = server.put(&alice, &name, json!({"displayname": "A"})).await;
    expect(&renamed, 403, refused);
    expect(
        &server.post(&alice, "/createRoom", json!({})).await,
        403,
        refused,
    );
    expect_ok(server.get(&alice, "/sync?timeout=0").await);
    let redact = format!("/rooms/{room}/redact/{said}/1");
    expect_ok(server.put(&alice, &redact, json!({})).await);
    // A redaction may be sent as any event is, and is judged alike.
    let roots = server.say(&root, &other, "hers").await;
    let send = |txn: u8| format!("/rooms/{room}/send/m.room.redaction/{txn}");
    for redacts in [json!(roots), json!("$unknown"), Value::Null] {
        let body = json!({"redacts": redacts});
        expect(&server.put(&alice, &send(1), body).await, 403, refused);
    }
    let body = json!({"redacts": said});
    expect_ok(server.put(&alice, &send(2), body).await);
    expect_ok(server.put(&root, &path, json!({"suspended": false})).await);
    expect_ok(server.put(&alice, &message, text).await);
}

#[tokio::test]
async fn a_token_logs_another_device_in_once() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let path = "/_matrix/client/v1/login/get_token";
    let (status, challenge) = server.post(&alice, path, json!({})).await;
    assert_eq!(status, 401);
    let body = json!({"auth": password_auth(&alice, &challenge["session"])});
    let given = expect_ok(server.post(&alice, path, body).await);
    assert_eq!(given["expires_in_ms"], 120_000);
    let login = json!({"type": "m.login.token", "token": given["login_token"]});
    let answer = expect_ok(server.call("POST", "/login", "", login.clone()).await);
    assert_eq!(answer["user_id"], *alice.id);
    assert_ne!(answer["device_id"], *alice.device);
    let again = server.call("POST", "/login", "", login).await;
    expect(&again, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn notifications_are_listed_and_read() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let first = server.say(&alice, &room, "one").await;
    server.say(&alice, &room, "two").await;
    server.say(&bob, &room, "mine").await;
    let path = format!("/rooms/{room}/receipt/m.read/{first}");
    expect_ok(server.post(&bob, &path, json!({})).await);
    let page = expect_ok(server.get(&bob, "/notifications?limit=1").await);
    let newest = &page["notifications"][0];
    assert_eq!(newest["event"]["content"]["body"], "two");
    assert_eq!(
        (&newest["read"], &newest["room_id"]),
        (&json!(false), &json!(room))
    );
    assert!(newest["actions"].is_array() && newest["ts"].is_i64());
    let token = page["next_token"].as_str().unwrap();
    let page = expect_ok(
        server
            .get(&bob, &format!("/notifications?from={token}"))
            .await,
    );
    assert_eq!(page["notifications"][0]["event"]["event_id"], first);
    assert_eq!(page["notifications"][0]["read"], true);
    assert!(page.get("next_token").is_none());
    let only = expect_ok(server.get(&bob, "/notifications?only=highlight").await);
    assert_eq!(only["notifications"], json!([]));
    let answer = server.get(&bob, "/notifications?from=x").await;
    expect(&answer, 400, "M_INVALID_PARAM");
}

/// Sets a pusher of `user` at a gateway that answers `rejected`, and collects what the gateway is told.
async fn with_gateway(server: &Server, user: &User, rejected: Value) -> Arc<Mutex<Vec<Value>>> {
    let pusher = json!({
        "pushkey": "key", "kind": "http", "app_id": "org.example.app", "lang": "en",
        "app_display_name": "App", "device_display_name": "Phone",
        "data": {"url": "https://push.example.net/_matrix/push/v1/notify", "brand": "x"},
    });
    expect_ok(server.post(user, "/pushers/set", pusher).await);
    let told = Arc::new(Mutex::new(Vec::new()));
    let network = testing::Network::default();
    let heard = Arc::clone(&told);
    network.serve(ruma::server_name!("push.example.net"), move |request| {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        heard.lock().unwrap().push(body["notification"].clone());
        testing::json(200, json!({"rejected": rejected}).to_string())
    });
    let pushes = crate::sync::Pushes::new(
        Arc::clone(&server.app.sync),
        PushGateway::new(Arc::new(network)),
        server.app.drain.clone(),
    );
    tokio::spawn(pushes.run());
    told
}

async fn wait_for(told: &Arc<Mutex<Vec<Value>>>, count: usize) -> Vec<Value> {
    for _ in 0..100_000 {
        if told.lock().unwrap().len() >= count {
            break;
        }
        tokio::task::yield_now().await;
    }
    told.lock().unwrap().clone()
}

#[tokio::test]
async fn a_gateway_is_told_of_events_and_never_of_contents() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    server.say(&alice, &room, "before the pusher").await;
    let told = with_gateway(&server, &bob, json!([])).await;
    let event = server.say(&alice, &room, "hello phone").await;
    let heard = wait_for(&told, 1).await;
    assert_eq!(heard[0]["event_id"], event);
    assert_eq!(heard[0]["room_id"], room);
    assert_eq!(heard[0]["counts"]["unread"], 2);
    let device = &heard[0]["devices"][0];
    assert_eq!(
        (&device["pushkey"], &device["data"]),
        (&json!("key"), &json!({"brand": "x"}))
    );
    assert!(!heard[0].to_string().contains("hello"));
    assert!(!heard[0].to_string().contains(&alice.id));
    // A room of the same maker, content and millisecond would have the same id.
    server.clock.advance(std::time::Duration::from_millis(5));
    let invited = server.room(&alice, json!({"invite": [bob.id]})).await;
    let heard = wait_for(&told, 2).await;
    assert_eq!(heard[1]["room_id"], invited);
    assert_eq!(heard.len(), 2);
}

#[tokio::test]
async fn a_rejected_key_loses_its_pusher() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let told = with_gateway(&server, &bob, json!(["key"])).await;
    server.say(&alice, &room, "one").await;
    assert_eq!(wait_for(&told, 1).await.len(), 1);
    for _ in 0..10_000 {
        let left = expect_ok(server.get(&bob, "/pushers").await);
        if left == json!({"pushers": []}) {
            return;
        }
    }
    panic!("the pusher is still there");
}

#[tokio::test]
async fn what_the_command_line_does_reaches_the_running_server() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = expect_ok(server.get(&bob, "/sync?timeout=0").await)["next_batch"].clone();
    // Another process, on the same database.
    let store = crate::store::testing::open_in(server.folder.path()).await;
    let accounts = crate::accounts::Accounts::new(
        Arc::clone(&store),
        Arc::new(server.clock.clone()),
        Arc::new(SeededRng::new(9)),
        &server.app.config,
    );
    let id = ruma::UserId::parse(&alice.id).unwrap();
    assert!(accounts.deactivate(&id).await.unwrap());
    store.close().await;
    let mut departures =
        crate::rooms::Departures::new(Arc::clone(&server.app.rooms), crate::drain::Drain::new());
    departures.pass().await.unwrap();
    let path = format!("/sync?timeout=0&since={}", since.as_str().unwrap());
    let told = expect_ok(server.get(&bob, &path).await);
    let events = told["rooms"]["join"][&room]["timeline"]["events"].to_string();
    assert!(events.contains("\"membership\":\"leave\""), "{told}");
    assert_eq!(told["device_lists"]["left"], json!([alice.id]));
    server.clock.advance(std::time::Duration::from_secs(11));
    let answer = server.get(&alice, "/account/whoami").await;
    expect(&answer, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn who_is_locked_is_told_so_whatever_they_log_in_with() {
    let server = Server::with(|config| {
        config.admin.users = vec![ruma::owned_user_id!("@root:example.org")];
    })
    .await;
    let (root, alice) = (
        server.register("root").await,
        server.register("alice").await,
    );
    let path = "/_matrix/client/v1/login/get_token";
    let token = async || {
        let (_, challenge) = server.post(&alice, path, json!({})).await;
        let body = json!({"auth": password_auth(&alice, &challenge["session"])});
        let given = expect_ok(server.post(&alice, path, body).await);
        json!({"type": "m.login.token", "token": given["login_token"]})
    };
    let (first, second) = (token().await, token().await);
    let name = format!("/profile/{}/displayname", alice.id);
    expect_ok(
        server
            .put(&alice, &name, json!({"displayname": "Ada"}))
            .await,
    );
    let lock = format!("/_matrix/client/v1/admin/lock/{}", alice.id);
    expect_ok(server.put(&root, &lock, json!({"locked": true})).await);
    for body in [first, login_body("alice", PASSWORD)] {
        let answer = server.call("POST", "/login", "", body).await;
        expect(&answer, 401, "M_USER_LOCKED");
        assert_eq!(answer.1["soft_logout"], true);
    }
    // Others see nothing of it.
    let profile = format!("/profile/{}", alice.id);
    let shown = expect_ok(server.get(&root, &profile).await);
    assert_eq!(shown, json!({"displayname": "Ada"}));
    expect_ok(server.put(&root, &lock, json!({"locked": false})).await);
    expect_ok(server.call("POST", "/login", "", second).await);
}
