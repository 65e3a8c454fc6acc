//! A room that spans two servers: joining, speaking, inviting, leaving, being away.

use passeur_tests::{
    Homeserver,
    ca::TestCa,
    server::{Database, TestServer},
    user::User,
};
use serde_json::json;

#[tokio::test]
async fn a_public_room_spans_two_servers() {
    let ca = TestCa::new();
    let (one, two) = (TestServer::start(&ca), TestServer::start(&ca));
    let mut alice = User::register(&one, "alice").await;
    let mut bob = User::register(&two, "bob").await;
    let room = alice.create_room(json!({"preset": "public_chat"})).await;
    bob.join(&room, one.server_name()).await;
    let sent = alice.send_text(&room, "quetzal: welcome").await;
    let received = bob.wait_text(&room, "quetzal: welcome").await;
    assert_eq!(
        (&received["event_id"], &received["sender"]),
        (&json!(sent), &json!(alice.id))
    );
    bob.send_text(&room, "quetzal: thank you").await;
    let received = alice.wait_text(&room, "quetzal: thank you").await;
    assert_eq!(received["sender"], json!(bob.id));
}

#[tokio::test]
async fn an_invite_crosses_servers_and_a_leaver_hears_no_more() {
    let ca = TestCa::new();
    let (one, two) = (TestServer::start(&ca), TestServer::start(&ca));
    let mut alice = User::register(&one, "alice").await;
    let mut bob = User::register(&two, "bob").await;
    let room = alice.create_room(json!({"preset": "private_chat"})).await;
    let refused = bob
        .request(
            reqwest::Method::POST,
            &format!("/v3/join/{room}?via={}", one.server_name()),
            Some(json!({})),
        )
        .await;
    assert_eq!(refused.unwrap_err().code, "M_FORBIDDEN");
    alice.invite(&room, &bob.id).await;
    bob.wait_invite(&room).await;
    bob.join(&room, one.server_name()).await;
    alice.send_text(&room, "quetzal: you are in").await;
    bob.wait_text(&room, "quetzal: you are in").await;
    bob.post(&format!("/v3/rooms/{room}/leave"), json!({}))
        .await;
    let is_leave = |event: &serde_json::Value| {
        event["state_key"] == json!(bob.id) && event["content"]["membership"] == "leave"
    };
    alice.wait_event(&room, is_leave).await;
    alice.send_text(&room, "quetzal: he is gone").await;
    let refused = bob
        .request(
            reqwest::Method::GET,
            &format!("/v3/rooms/{room}/joined_members"),
            None,
        )
        .await;
    assert_eq!(refused.unwrap_err().status, 403);
}

#[tokio::test]
async fn what_was_said_while_a_server_was_down_arrives_in_order() {
    let ca = TestCa::new();
    let (one, mut two) = (
        TestServer::start(&ca),
        TestServer::start_on(&ca, Database::Postgres),
    );
    let mut alice = User::register(&one, "alice").await;
    let mut bob = User::register(&two, "bob").await;
    let room = alice.create_room(json!({"preset": "public_chat"})).await;
    bob.join(&room, one.server_name()).await;
    bob.sync().await;
    assert!(two.stop().success());
    let said: Vec<String> = (0..30)
        .map(|number| format!("quetzal: number {number}"))
        .collect();
    for text in &said {
        alice.send_text(&room, text).await;
    }
    two.restart();
    alice.send_text(&room, "quetzal: are you back?").await;
    bob.wait_text(&room, "quetzal: are you back?").await;
    let history = bob.history(&room).await;
    let heard = history
        .iter()
        .rev()
        .filter_map(|event| event["content"]["body"].as_str());
    let heard: Vec<&str> = heard
        .filter(|body| body.starts_with("quetzal: number"))
        .collect();
    assert_eq!(heard, said);
}
