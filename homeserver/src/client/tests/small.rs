//! Stories of the endpoints with little behind them: the relay for calls, contacts, third-party identifiers, administrators.

use super::*;
use crate::config::{Secret, SupportContact};

#[tokio::test]
async fn a_relay_is_told_with_credentials_that_expire() {
    let server = Server::with(|config| {
        config.turn.uris = vec!["turn:turn.example.org".to_owned()];
        config.turn.shared_secret = Some(Secret::new("n0t4dentist"));
    })
    .await;
    let alice = server.register("alice").await;
    let answer = expect_ok(server.get(&alice, "/voip/turnServer").await);
    assert_eq!(answer["ttl"], 86400);
    assert_eq!(answer["uris"], json!(["turn:turn.example.org"]));
    let name = answer["username"].as_str().unwrap();
    let until: i64 = name.split(':').next().unwrap().parse().unwrap();
    assert_eq!(until, server.app.clock.now_ms() / 1000 + 86400);
    assert!(!name.contains("alice"));
    assert_eq!(answer["password"].as_str().unwrap().len(), 28);
    let again = expect_ok(server.get(&alice, "/voip/turnServer").await);
    assert_ne!(again["password"], answer["password"]);
    expect(
        &server
            .call("GET", "/voip/turnServer", "", Value::Null)
            .await,
        401,
        "M_MISSING_TOKEN",
    );
}

#[tokio::test]
async fn without_a_relay_or_a_contact_there_is_none() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let answer = expect_ok(server.get(&alice, "/voip/turnServer").await);
    assert_eq!(answer["uris"], json!([]));
    assert_eq!(answer["password"], "");
    let answer = server
        .call("GET", "/.well-known/matrix/support", "", Value::Null)
        .await;
    expect(&answer, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn people_are_told_whom_to_turn_to() {
    let server = Server::with(|config| {
        config.well_known.support_page = Some("https://example.org/help".to_owned());
        config.well_known.support_contacts = vec![SupportContact {
            role: "m.role.security".to_owned(),
            email_address: Some("security@example.org".to_owned()),
            matrix_id: None,
        }];
    })
    .await;
    let path = "/.well-known/matrix/support";
    let answer = expect_ok(server.call("GET", path, "", Value::Null).await);
    let expected = json!({
        "support_page": "https://example.org/help",
        "contacts": [{"role": "m.role.security", "email_address": "security@example.org"}],
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn third_party_identifiers_are_neither_taken_nor_known() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let mail = json!({"client_secret": "abc", "email": "a@example.org", "send_attempt": 1});
    let phone = json!({
        "client_secret": "abc", "country": "DE", "phone_number": "123", "send_attempt": 1,
    });
    for (path, body, status, errcode) in [
        ("register/email", &mail, 403, "M_THREEPID_DENIED"),
        ("register/msisdn", &phone, 403, "M_THREEPID_DENIED"),
        ("account/password/email", &mail, 400, "M_THREEPID_NOT_FOUND"),
        (
            "account/password/msisdn",
            &phone,
            400,
            "M_THREEPID_NOT_FOUND",
        ),
        ("account/3pid/email", &mail, 403, "M_THREEPID_DENIED"),
        ("account/3pid/msisdn", &phone, 403, "M_THREEPID_DENIED"),
    ] {
        let path = format!("/{path}/requestToken");
        let answer = server.call("POST", &path, "", body.clone()).await;
        expect(&answer, status, errcode);
    }
    let body = json!({"medium": "email", "address": "a@example.org"});
    let answer = expect_ok(server.post(&alice, "/account/3pid/delete", body).await);
    assert_eq!(answer["id_server_unbind_result"], "no-support");
    let answer = server.get(&alice, "/thirdparty/protocol/irc").await;
    expect(&answer, 404, "M_NOT_FOUND");
    let answer = server.get(&alice, "/thirdparty/user?userid=@a:b.c").await;
    expect(&answer, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn administrators_lock_accounts_and_nobody_else_does() {
    let server = Server::with(|config| {
        config.admin.users = vec![ruma::owned_user_id!("@root:example.org")];
    })
    .await;
    let (root, alice) = (
        server.register("root").await,
        server.register("alice").await,
    );
    let path = "/_matrix/client/v1/admin/lock/@alice:example.org";
    let lock = |locked: bool| json!({"locked": locked});
    expect(
        &server.put(&alice, path, lock(true)).await,
        403,
        "M_FORBIDDEN",
    );
    let nobody = "/_matrix/client/v1/admin/lock/@nobody:example.org";
    expect(&server.get(&alice, nobody).await, 403, "M_FORBIDDEN");
    expect(&server.get(&root, nobody).await, 404, "M_NOT_FOUND");
    let abroad = "/_matrix/client/v1/admin/lock/@alice:example.net";
    expect(&server.get(&root, abroad).await, 400, "M_INVALID_PARAM");
    let itself = "/_matrix/client/v1/admin/lock/@root:example.org";
    expect(
        &server.put(&root, itself, lock(true)).await,
        403,
        "M_FORBIDDEN",
    );
    assert_eq!(
        expect_ok(server.put(&root, path, lock(true)).await),
        lock(true)
    );
    assert_eq!(expect_ok(server.get(&root, path).await), lock(true));
    let answer = server.get(&alice, "/account/whoami").await;
    expect(&answer, 401, "M_USER_LOCKED");
    expect_ok(server.put(&root, path, lock(false)).await);
    expect_ok(server.get(&alice, "/account/whoami").await);
}

#[tokio::test]
async fn a_user_and_administrators_see_devices_without_addresses() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let path = "/admin/whois/@alice:example.org";
    let answer = expect_ok(server.get(&alice, path).await);
    assert_eq!(answer["user_id"], *alice.id);
    let connections = &answer["devices"][&alice.device]["sessions"][0]["connections"];
    assert!(connections[0]["last_seen"].is_i64(), "{answer}");
    assert!(connections[0].get("ip").is_none());
    expect(&server.get(&bob, path).await, 403, "M_FORBIDDEN");
}

#[tokio::test]
async fn mutual_rooms_are_those_of_both() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut shared = Vec::new();
    for wanted in [true, false, true] {
        // A room of the same maker, content and millisecond would have the same id.
        server.clock.advance(std::time::Duration::from_millis(5));
        let body = json!({"preset": "public_chat"});
        let room = expect_ok(server.post(&alice, "/createRoom", body).await);
        let room = room["room_id"].as_str().unwrap().to_owned();
        if wanted {
            let path = format!("/rooms/{room}/join");
            expect_ok(server.post(&bob, &path, json!({})).await);
            shared.push(room);
        }
    }
    shared.sort();
    let path = |user: &str| format!("/_matrix/client/v1/mutual_rooms?user_id={user}");
    let answer = expect_ok(server.get(&alice, &path(&bob.id)).await);
    assert_eq!(answer, json!({"joined": shared, "count": 2}));
    expect(
        &server.get(&alice, &path(&alice.id)).await,
        400,
        "M_INVALID_PARAM",
    );
    let answer = expect_ok(server.get(&alice, &path("@nobody:example.net")).await);
    assert_eq!(answer, json!({"joined": [], "count": 0}));
}

#[tokio::test]
async fn a_sync_says_of_nobody_that_they_are_what_nobody_is() {
    let server = Server::with(|config| config.presence.enabled = true).await;
    let alice = server.register("alice").await;
    let sync = |presence: &str| format!("/sync?set_presence={presence}");
    let path = format!("/presence/{}/status", alice.id);
    let answer = server.get(&alice, &sync("asleep")).await;
    expect(&answer, 400, "M_INVALID_PARAM");
    let shown = expect_ok(server.get(&alice, &path).await);
    assert_eq!(shown["presence"], "offline");
    expect_ok(server.get(&alice, &sync("unavailable")).await);
    let shown = expect_ok(server.get(&alice, &path).await);
    assert_eq!(shown["presence"], "unavailable");
}

#[tokio::test]
async fn who_registers_without_logging_in_is_told_the_name_alone() {
    let server = Server::start().await;
    let body = json!({
        "username": "alice", "password": "quetzal feathers", "inhibit_login": true, "auth": {"type": "m.login.dummy"},
    });
    let answer = expect_ok(server.call("POST", "/register", "", body).await);
    assert_eq!(answer, json!({"user_id": "@alice:example.org"}));
}

#[tokio::test]
async fn one_time_keys_are_the_clients_affair_if_they_can_be_read() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let upload = |keys: Value| json!({"one_time_keys": keys});
    let signatures = json!({alice.id.as_str(): {"ed25519:A": "x"}});
    for good in [
        json!({"curve25519:A": "of some form"}),
        json!({"signed_curve25519:A": {"key": "of some form", "signatures": signatures}}),
        json!({"org.example.new:A": {"parts": [1, 2]}}),
    ] {
        expect_ok(server.post(&alice, "/keys/upload", upload(good)).await);
    }
    for bad in [
        json!({"curve25519:B": {"key": "x"}}),
        json!({"curve25519:B": ""}),
        json!({"signed_curve25519:B": "x"}),
        json!({"signed_curve25519:B": {"key": 3, "signatures": signatures}}),
        json!({"signed_curve25519:B": {"key": "x"}}),
        json!({"org.example.new:B": 3}),
    ] {
        let answer = server.post(&alice, "/keys/upload", upload(bad)).await;
        expect(&answer, 400, "M_INVALID_PARAM");
    }
    let nameless = upload(json!({"B": "x"}));
    let answer = server.post(&alice, "/keys/upload", nameless).await;
    expect(&answer, 400, "M_BAD_JSON");
}
