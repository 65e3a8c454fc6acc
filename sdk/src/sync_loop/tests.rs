//! The sync against a server that scripts its answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ruma::RoomId;
use serde_json::Value;

use super::*;
use crate::{
    clock::ManualClock,
    crypto::Record,
    fake_server::{FakeServer, PATIENCE, joined, room, timeline},
    store::{
        AccountBinding, Batch, InboxItem, MemoryStore, RoomEntry, SendQueueItem, Store, StoreError,
        StoreFuture,
    },
};

fn message(text: &str) -> Value {
    json!({
        "type": "m.room.message", "event_id": format!("${text}"), "sender": "@bob:two",
        "origin_server_ts": 1, "content": {"msgtype": "m.text", "body": text}
    })
}

async fn hears(client: &Client, room: &RoomId, text: &str, act: impl AsyncFnOnce()) {
    let mut timeline = client.room(room).timeline();
    act().await;
    assert!(
        timeline.wait_for_text(PATIENCE, text).await.is_some(),
        "{text} was not heard"
    );
}

#[tokio::test]
async fn a_sync_goes_on_where_it_was_left_after_a_restart() {
    let server = FakeServer::start().await;
    let store = Arc::new(MemoryStore::new());
    let alice = server.alice(store.clone()).await;
    server.push_sync(joined(&room("a"), false));
    alice.sync_once(PATIENCE).await.unwrap();
    drop(alice);
    let alice = server.client(store).await;
    alice.restore().await.unwrap();
    assert!(alice.room(&room("a")).is_joined());
    let sync = alice.start_sync().unwrap();
    hears(&alice, &room("a"), "hi", async || {
        server.push_sync(timeline(&room("a"), &message("hi")))
    })
    .await;
    assert_eq!(server.lock().since[..2], [None, Some("b1".to_owned())]);
    sync.stop().await;
}

/// A store that refuses to write for a while.
struct Stubborn(MemoryStore, AtomicBool);

impl Store for Stubborn {
    fn account(&self) -> StoreFuture<'_, Option<AccountBinding>> {
        self.0.account()
    }
    fn bind<'a>(&'a self, account: &'a AccountBinding) -> StoreFuture<'a, ()> {
        self.0.bind(account)
    }
    fn records(&self) -> StoreFuture<'_, Vec<Record>> {
        self.0.records()
    }
    fn commit(&self, batch: Batch) -> StoreFuture<'_, ()> {
        if self.1.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::Database) });
        }
        self.0.commit(batch)
    }
    fn value<'a>(&'a self, name: &'a str) -> StoreFuture<'a, Option<SecretBytes>> {
        self.0.value(name)
    }
    fn send_queue(&self) -> StoreFuture<'_, Vec<SendQueueItem>> {
        self.0.send_queue()
    }
    fn rooms(&self) -> StoreFuture<'_, Vec<RoomEntry>> {
        self.0.rooms()
    }
    fn inbox(&self) -> StoreFuture<'_, Vec<InboxItem>> {
        self.0.inbox()
    }
    fn scrub(&self) -> StoreFuture<'_, ()> {
        self.0.scrub()
    }
    fn close(&self) -> StoreFuture<'_, ()> {
        self.0.close()
    }
    fn wipe(&self) -> StoreFuture<'_, ()> {
        self.0.wipe()
    }
}

#[tokio::test]
async fn nothing_is_told_that_is_not_on_disk() {
    let server = FakeServer::start().await;
    let store = Arc::new(Stubborn(MemoryStore::new(), AtomicBool::new(false)));
    let alice = server.alice(store.clone()).await;
    let mut events = alice.events();
    store.1.store(true, Ordering::SeqCst);
    server.push_sync(timeline(&room("a"), &message("hi")));
    assert!(matches!(
        alice.sync_once(PATIENCE).await,
        Err(ClientError::Store(_))
    ));
    assert!(alice.room(&room("a")).state().is_none());
    assert_eq!(alice.sync_token().await.unwrap(), None);
    store.1.store(false, Ordering::SeqCst);
    server.push_sync(timeline(&room("a"), &message("again")));
    alice.sync_once(PATIENCE).await.unwrap();
    let first = events.next().await.unwrap();
    assert_eq!(first.body(), Some("again"));
    assert_eq!(alice.sync_token().await.unwrap().as_deref(), Some("b2"));
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_the_request_repeated() {
    let server = FakeServer::start().await;
    let store = Arc::new(MemoryStore::new());
    let alice = server.alice(store.clone()).await;
    server.lock().token = 7;
    server.push_sync(joined(&room("a"), false));
    alice.sync_once(PATIENCE).await.unwrap();
    assert_eq!(server.lock().refreshed, ["r0"]);
    drop(alice);
    let alice = server.client(store).await;
    alice.restore().await.unwrap();
    server.push_sync(joined(&room("b"), false));
    alice.sync_once(PATIENCE).await.unwrap();
    assert_eq!(server.lock().refreshed, ["r0"], "the new pair was kept");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let server = FakeServer::start().await;
    let clock = ManualClock::at(1_000_000);
    let builder = Client::builder()
        .homeserver(&server.url)
        .clock(Arc::new(clock.clone()));
    let alice = builder.build().await.unwrap();
    alice.login_password("alice", "secret").await.unwrap();
    for (minutes, expected) in [(3, 0), (1, 1), (1, 1), (4, 2)] {
        clock.advance(minutes * 60_000);
        server.push_sync(json!({}));
        alice.sync_once(PATIENCE).await.unwrap();
        assert_eq!(server.lock().refreshed.len(), expected);
    }
}

#[tokio::test]
async fn a_session_that_the_server_ended_ends_the_sync_and_keeps_the_keys() {
    let server = FakeServer::start().await;
    let alice = server.alice(Arc::new(MemoryStore::new())).await;
    server.lock().hard_logout = true;
    server.lock().token = 7;
    let sync = alice.start_sync().unwrap();
    assert!(matches!(sync.ended().await, Err(ClientError::SessionEnded)));
    assert!(server.lock().refreshed.is_empty());
    assert!(alice.inner.store.account().await.unwrap().is_some());
}

#[tokio::test]
async fn a_socket_brings_events_is_acknowledged_and_takes_messages() {
    let server = FakeServer::start().await;
    server.lock().socket = true;
    let alice = server.alice(Arc::new(MemoryStore::new())).await;
    let sync = alice.start_sync().unwrap();
    server.push_sync(joined(&room("a"), false));
    server
        .wait_for(|shared| (shared.acks == ["b1"]).then_some(()))
        .await;
    hears(&alice, &room("a"), "hi", async || {
        server.push_sync(timeline(&room("a"), &message("hi")))
    })
    .await;
    alice
        .room(&room("a"))
        .send_text("out")
        .await
        .unwrap()
        .event_id(PATIENCE)
        .await
        .unwrap();
    assert!(server.lock().puts[0].by_socket);
    server
        .lock()
        .refusals
        .push_back((403, json!({"errcode": "M_FORBIDDEN", "error": ""})));
    let refused = alice.room(&room("a")).send_text("no").await.unwrap();
    assert!(refused.event_id(PATIENCE).await.is_err());
    sync.stop().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let server = FakeServer::start().await;
    let alice = server.alice(Arc::new(MemoryStore::new())).await;
    // Something that is not a sync response, thrice.
    for _ in 0..3 {
        server.push_sync(json!({"rooms": 7}));
    }
    let sync = alice.start_sync().unwrap();
    hears(&alice, &room("a"), "hi", async || {
        server.push_sync(timeline(&room("a"), &message("hi")))
    })
    .await;
    sync.stop().await;
}

#[test]
fn pauses_grow_up_to_their_bound_and_differ() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = runtime.block_on(async {
        let builder = Client::builder().homeserver("http://127.0.0.1:1");
        builder
            .retry_pauses(Duration::from_millis(100), Duration::from_secs(2))
            .build()
            .await
    });
    let client = client.unwrap();
    for (attempt, full_ms) in [(0, 100), (1, 200), (2, 400), (10, 2000), (u32::MAX, 2000)] {
        for _ in 0..50 {
            let pause = client.pause(attempt).as_millis();
            assert!(
                (full_ms / 2..=full_ms).contains(&pause),
                "{attempt}: {pause}"
            );
        }
    }
    let drawn: std::collections::BTreeSet<_> = (0..50).map(|_| client.pause(5)).collect();
    assert!(drawn.len() > 1);
}
