//! What an operator sees: starting, ending, restarting, on both databases.

use passeur_tests::{
    ca::TestCa,
    server::{Database, TestServer},
    user::User,
};
use reqwest::Method;
use serde_json::json;

async fn a_restart_keeps_everything(database: Database) {
    let ca = TestCa::new();
    let mut server = TestServer::start_on(&ca, database);
    let mut alice = User::register(&server, "alice").await;
    let room = alice
        .create_room(json!({"preset": "private_chat", "name": "quetzals"}))
        .await;
    let sent = alice.send_text(&room, "quetzal: before").await;
    alice.wait_text(&room, "quetzal: before").await;
    assert!(
        server.stop().success(),
        "SIGTERM ends the server with status 0"
    );
    server.restart();
    // The token, the place in the sync and the transaction id are all as they were.
    let path = format!("/v3/rooms/{room}/send/m.room.message/t1");
    let again = alice
        .put(
            &path,
            json!({"msgtype": "m.text", "body": "quetzal: before"}),
        )
        .await;
    assert_eq!(again["event_id"], json!(sent));
    alice.send_text(&room, "quetzal: after").await;
    alice.wait_text(&room, "quetzal: after").await;
    let bodies: Vec<_> = alice
        .history(&room)
        .await
        .iter()
        .filter_map(|event| event["content"]["body"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(bodies, ["quetzal: after", "quetzal: before"]);
}

#[tokio::test]
async fn a_restart_keeps_everything_on_sqlite() {
    a_restart_keeps_everything(Database::Sqlite).await;
}

#[tokio::test]
async fn a_restart_keeps_everything_on_postgres() {
    a_restart_keeps_everything(Database::Postgres).await;
}

#[tokio::test]
async fn an_open_long_poll_does_not_hold_up_the_end() {
    let ca = TestCa::new();
    let mut server = TestServer::start(&ca);
    let mut alice = User::register(&server, "alice").await;
    alice.sync().await;
    let polling = tokio::spawn(async move {
        // Answered empty or cut off: either is an end.
        let since = alice.sync().await["next_batch"].as_str().map(str::to_owned);
        alice
            .attempt(
                Method::GET,
                &format!("/v3/sync?timeout=60000&since={}", since.unwrap()),
                None,
            )
            .await
    });
    let ended = tokio::task::spawn_blocking(move || server.stop())
        .await
        .unwrap();
    assert!(ended.success());
    let _ = polling.await;
}

#[tokio::test]
async fn every_log_line_is_free_of_names() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let mut alice = User::register(&server, "alice").await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    let event = alice.send_text(&room, "quetzal: a secret").await;
    alice.sync().await;
    let log = server.log();
    assert!(
        !log.is_empty(),
        "at the level debug a request leaves a line"
    );
    for secret in [
        &alice.id,
        &alice.token,
        &room,
        &event,
        "a secret",
        "User-Agent",
    ] {
        assert!(!log.contains(secret), "the log shows what it must not");
    }
}
