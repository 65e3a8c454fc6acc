//! Messages to devices: delivered once, kept until a token is presented, dropped when their time is over.

use std::time::Duration;

use ruma::{OwnedUserId, UserId, server_name};

use super::*;
use crate::store::{DeleteToDevice, PurgeToDevice};

const PATH: &str = "/sendToDevice/m.room.encrypted";

impl Server {
    /// The contents that wait for a device.
    async fn waiting(&self, user: &User) -> Vec<Value> {
        let id = UserId::parse(&user.id).unwrap();
        let now_ms = self.app.clock.now_ms();
        let device = user.device.as_str().into();
        let messages = self
            .app
            .store
            .to_device_of(&id, device, 0, i64::MAX, 1000, now_ms)
            .await
            .unwrap();
        let events = messages.iter().map(|message| {
            let event: Value = serde_json::from_str(message.event.get()).unwrap();
            assert_eq!(event["type"], "m.room.encrypted");
            event["content"].clone()
        });
        events.collect()
    }
}

fn to(user: &User, device: &str, content: Value) -> Value {
    json!({"messages": {&user.id: {device: content}}})
}

#[tokio::test]
async fn a_message_reaches_one_device_or_all() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let tablet = server.login("bob").await;
    let path = format!("{PATH}/1");
    expect_ok(
        server
            .put(&alice, &path, to(&bob, &bob.device, json!({"n": 1})))
            .await,
    );
    let path = format!("{PATH}/2");
    expect_ok(
        server
            .put(&alice, &path, to(&bob, "*", json!({"n": 2})))
            .await,
    );
    let path = format!("{PATH}/3");
    expect_ok(
        server
            .put(&alice, &path, to(&bob, "NOSUCH", json!({"n": 3})))
            .await,
    );
    assert_eq!(
        server.waiting(&bob).await,
        [json!({"n": 1}), json!({"n": 2})]
    );
    assert_eq!(server.waiting(&tablet).await, [json!({"n": 2})]);
    assert!(server.waiting(&alice).await.is_empty());
}

#[tokio::test]
async fn a_repeated_transaction_sends_nothing_even_after_a_restart() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let path = format!("{PATH}/once");
    let body = to(&bob, &bob.device, json!({"n": 1}));
    let (one, two) = tokio::join!(
        server.put(&alice, &path, body.clone()),
        server.put(&alice, &path, body.clone())
    );
    assert_eq!((one.0, two.0), (200, 200));
    let server = server.restart().await;
    expect_ok(server.put(&alice, &path, body.clone()).await);
    assert_eq!(server.waiting(&bob).await.len(), 1);
    // Another device has transaction ids of its own.
    let other = server.login("alice").await;
    expect_ok(server.put(&other, &path, body).await);
    assert_eq!(server.waiting(&bob).await.len(), 2);
}

#[tokio::test]
async fn messages_stay_until_a_token_is_presented() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    for number in 0..3 {
        let path = format!("{PATH}/{number}");
        expect_ok(
            server
                .put(&alice, &path, to(&bob, "*", json!({"n": number})))
                .await,
        );
    }
    let id: OwnedUserId = UserId::parse(&bob.id).unwrap();
    let store = &server.app.store;
    let device = bob.device.as_str().into();
    let page = store
        .to_device_of(&id, device, 0, i64::MAX, 2, 0)
        .await
        .unwrap();
    assert_eq!(page.len(), 2);
    assert_eq!(
        server.waiting(&bob).await.len(),
        3,
        "reading deletes nothing"
    );
    let delete = DeleteToDevice {
        user_id: id.clone(),
        device_id: bob.device.clone().into(),
        upto: page[1].position,
    };
    store.commit(delete).await.unwrap();
    assert_eq!(server.waiting(&bob).await, [json!({"n": 2})]);
    expect_ok(server.post(&bob, "/logout", json!({})).await);
    assert!(server.waiting(&bob).await.is_empty());
}

#[tokio::test]
async fn a_message_with_a_lifetime_is_gone_after_it() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let short = json!({"ciphertext": "x", "org.passeur.ttl_ms": 30_000});
    expect_ok(
        server
            .put(&alice, &format!("{PATH}/1"), to(&bob, "*", short))
            .await,
    );
    expect_ok(
        server
            .put(&alice, &format!("{PATH}/2"), to(&bob, "*", json!({"n": 2})))
            .await,
    );
    assert_eq!(server.waiting(&bob).await.len(), 2);
    server.clock.advance(Duration::from_secs(30));
    assert_eq!(server.waiting(&bob).await, [json!({"n": 2})]);
    let now_ms = server.app.clock.now_ms();
    let purge = PurgeToDevice {
        now_ms,
        forget_ms: 0,
    };
    assert_eq!(server.app.store.commit(purge).await.unwrap().output, 1);
}

#[tokio::test]
async fn messages_for_other_servers_are_owed_to_them() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let large = "x".repeat(40 * 1024);
    let body = json!({"messages": {
        "@bob:b.example": {"*": {"c": large}, "D1": {"c": large}},
        "@eve:e.example": {"*": {"c": "x", "org.passeur.ttl_ms": 30_000}},
    }});
    expect_ok(server.put(&alice, &format!("{PATH}/1"), body.clone()).await);
    expect_ok(server.put(&alice, &format!("{PATH}/1"), body).await);
    let now_ms = server.app.clock.now_ms();
    let store = &server.app.store;
    let owed = store
        .edus_for(server_name!("b.example"), 0, i64::MAX, 100, now_ms)
        .await
        .unwrap();
    assert_eq!(owed.len(), 2, "an EDU has a bounded size");
    let edu: Value = serde_json::from_str(&owed[0].1).unwrap();
    assert_eq!(edu["edu_type"], "m.direct_to_device");
    assert_eq!(edu["content"]["sender"], alice.id);
    let devices = edu["content"]["messages"]["@bob:b.example"]
        .as_object()
        .unwrap();
    assert_eq!(devices.keys().collect::<Vec<_>>(), ["D1"]);
    let later = now_ms + 30_000;
    let over = store
        .edus_for(server_name!("e.example"), 0, i64::MAX, 100, later)
        .await
        .unwrap();
    assert!(over.is_empty());
}

#[tokio::test]
async fn what_is_too_large_is_refused_as_a_whole() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let bob = server.register("bob").await;
    let huge = json!({"messages": {&bob.id: {
        &bob.device: {"c": "x".repeat(70_000)}, "OTHER": {"c": "small"},
    }}});
    expect(
        &server.put(&alice, &format!("{PATH}/1"), huge).await,
        413,
        "M_TOO_LARGE",
    );
    let path = format!("{PATH}/{}", "t".repeat(300));
    expect(
        &server.put(&alice, &path, to(&bob, "*", json!({}))).await,
        413,
        "M_TOO_LARGE",
    );
    let wrong = json!({"messages": {"bob": {}}});
    expect(
        &server.put(&alice, &format!("{PATH}/2"), wrong).await,
        400,
        "M_BAD_JSON",
    );
    assert!(server.waiting(&bob).await.is_empty());
}
