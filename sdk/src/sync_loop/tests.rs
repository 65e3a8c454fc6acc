//! The sync against a server that scripts its answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ruma::{RoomId, api::client::keys::get_keys};
use serde_json::Value;

use super::*;
use crate::{
    client::Protection,
    clock::{ManualClock, SystemRng},
    crypto::{
        CryptoError, EncryptOptions, IncomingResponse, OlmMachine, OutgoingBody, PlaintextVerdict,
        Record, RoomKeySettings, Undecryptable, VerificationStage, encrypt_key_export,
    },
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

#[tokio::test]
async fn traces_are_removed_at_every_start_and_until_it_succeeds() {
    let server = FakeServer::start().await;
    let store = Arc::new(crate::store::GatedStore::new());
    // As after a process that ended between the commit of a sweep and its scrub.
    let alice = server.alice(store.clone()).await;
    assert_eq!(store.take_scrubs(), 1);
    alice.sweep().await.unwrap();
    assert_eq!(store.take_scrubs(), 0, "nothing was destroyed");
    drop(alice);
    store.fail_scrubs(true);
    let alice = server.client(store.clone()).await;
    assert!(alice.restore().await.unwrap());
    alice.sweep().await.unwrap();
    assert_eq!(store.take_scrubs(), 2);
    store.fail_scrubs(false);
    alice.sweep().await.unwrap();
    alice.sweep().await.unwrap();
    assert_eq!(store.take_scrubs(), 1);
}

#[tokio::test]
async fn a_client_syncs_once_at_a_time() {
    let server = FakeServer::start().await;
    let alice = server.alice(Arc::new(MemoryStore::new())).await;
    let refused = |outcome| matches!(outcome, Err(ClientError::AlreadySyncing));
    let sync = alice.start_sync().unwrap();
    assert!(refused(alice.start_sync().map(drop)));
    assert!(refused(alice.sync_once(PATIENCE).await));
    sync.stop().await;
    // Whoever stopped, or let go of, a sync may begin another at once.
    for _ in 0..3 {
        drop(alice.start_sync().unwrap());
    }
    server.push_sync(json!({}));
    alice.sync_once(PATIENCE).await.unwrap();
    // One that ended by itself is no hindrance either.
    server.lock().hard_logout = true;
    server.lock().token = 7;
    let sync = alice.start_sync().unwrap();
    assert!(sync.ended().await.is_err());
    assert!(!refused(alice.start_sync().map(drop)));
}

#[tokio::test]
async fn a_machine_that_failed_half_way_is_loaded_anew() {
    let server = FakeServer::start().await;
    let alice = server.alice(Arc::new(MemoryStore::new())).await;
    for (error, kept) in [(CryptoError::UnknownUser, true), (CryptoError::Key, false)] {
        let failed = alice.step(|machine, _| {
            // The changes are lost with the error.
            let _lost = machine.set_room_encrypted(&room("a"))?.into_parts();
            Err::<(Batch, ()), _>(error)
        });
        assert!(failed.await.unwrap().is_err());
        let known = alice.ask(|machine| machine.is_room_encrypted(&room("a")));
        assert_eq!(known.await.unwrap(), kept);
    }
}

#[tokio::test]
async fn a_state_key_does_not_make_a_forged_message_pass() {
    let server = FakeServer::start().await;
    let alice = server.alice(Arc::new(MemoryStore::new())).await;
    server.push_sync(joined(&room("a"), true));
    alice.sync_once(PATIENCE).await.unwrap();
    let mut forged = message("forged");
    let mut edit = message("edit");
    edit["content"]["m.relates_to"] = json!({"rel_type": "m.replace", "event_id": "$old"});
    edit["content"]["m.new_content"] = json!({"body": "forged"});
    for event in [&mut forged, &mut edit] {
        event["state_key"] = json!("");
    }
    let mut topic = forged.clone();
    topic["type"] = json!("m.room.topic");
    let mut events = alice.events();
    for event in [&edit, &forged, &topic] {
        server.push_sync(timeline(&room("a"), event));
        alice.sync_once(PATIENCE).await.unwrap();
    }
    let first = events.next().await.unwrap();
    assert_eq!((first.body(), first.replacement()), (None, None));
    assert!(matches!(
        first.protection,
        Protection::Clear(PlaintextVerdict::Unencrypted)
    ));
    assert_eq!(
        first.event_id, "$forged",
        "the edit was rejected altogether"
    );
    let second = events.next().await.unwrap();
    assert!(matches!(
        second.protection,
        Protection::Clear(PlaintextVerdict::Fine)
    ));
}

#[tokio::test]
async fn an_event_that_waits_for_its_key_is_kept_once() {
    let server = FakeServer::start().await;
    let alice = server.alice(Arc::new(MemoryStore::new())).await;
    let content = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "session_id": "unknown", "sender_key": "k",
        "device_id": "B", "ciphertext": ciphertext_of_nobody()
    });
    let event = json!({
        "type": "m.room.encrypted", "event_id": "$e", "sender": "@bob:two",
        "origin_server_ts": 1, "content": content
    });
    server.push_sync(joined(&room("a"), true));
    alice.sync_once(PATIENCE).await.unwrap();
    let mut events = alice.events();
    for _ in 0..3 {
        server.push_sync(timeline(&room("a"), &event));
        alice.sync_once(PATIENCE).await.unwrap();
    }
    assert_eq!(alice.waiting_events().len(), 1);
    assert_eq!(alice.inner.store.inbox().await.unwrap().len(), 1);
    // Why its key does not come may be known later. It waits on: anybody can write such a notice.
    let withheld = json!({"to_device": {"events": [{
        "type": "m.room_key.withheld", "sender": "@bob:two",
        "content": {"room_id": room("a"), "session_id": "unknown", "code": "m.unverified"},
    }]}});
    server.push_sync(withheld.clone());
    server.push_sync(withheld);
    alice.sync_once(PATIENCE).await.unwrap();
    alice.sync_once(PATIENCE).await.unwrap();
    let mut codes = Vec::new();
    for _ in 0..4 {
        match &events.next().await.unwrap().protection {
            Protection::Undecryptable(Undecryptable::MissingRoomKey { withheld, .. }) => {
                codes.push(withheld.clone());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(codes, [None, None, None, Some("m.unverified".to_owned())]);
    assert_eq!(alice.waiting_events().len(), 1);
}

/// Bob's request to verify, encrypted, and a file with the key to it.
fn encrypted_request(now_ms: u64) -> (Value, String) {
    let bob = ruma::user_id!("@bob:two");
    let staged = OlmMachine::create(bob, "BOB".into(), 1).unwrap();
    let (_, mut machine) = staged.into_parts();
    let room = room("a");
    drop(machine.set_room_encrypted(&room).unwrap());
    drop(machine.update_tracked_users(&[bob.to_owned()]).unwrap());
    for request in machine.outgoing_requests(now_ms).unwrap() {
        if let OutgoingBody::KeysQuery(_) = request.body {
            let mut nobody = get_keys::v3::Response::new();
            nobody.device_keys.insert(bob.to_owned(), [].into());
            let answer = IncomingResponse::KeysQuery(nobody);
            drop(
                machine
                    .mark_request_as_sent(&request.id, answer, now_ms)
                    .unwrap(),
            );
        }
    }
    let settings = RoomKeySettings::default();
    drop(
        machine
            .share_room_key(&room, &[], &settings, now_ms)
            .unwrap(),
    );
    let content = json!({
        "msgtype": "m.key.verification.request", "body": "", "to": "@alice:one", "from_device": "BOB", "methods": ["m.sas.v1"],
    });
    let content = content.as_object().unwrap().clone().into_iter().collect();
    let options = EncryptOptions::default();
    let staged = machine.encrypt_room_event(&room, "m.room.message", &content, options, now_ms);
    let (_, content) = staged.unwrap().into_parts();
    let event = json!({
        "type": "m.room.encrypted", "event_id": "$ask", "sender": bob, "origin_server_ts": now_ms, "content": content,
    });
    let keys = machine.export_room_keys().unwrap();
    (event, encrypt_key_export(&keys, "secret", &SystemRng))
}

#[tokio::test]
async fn a_verification_whose_key_comes_late_is_taken() {
    let server = FakeServer::start().await;
    let alice = server.alice(Arc::new(MemoryStore::new())).await;
    server.push_sync(joined(&room("a"), true));
    alice.sync_once(PATIENCE).await.unwrap();
    let (event, key) = encrypted_request(alice.now_ms());
    server.push_sync(timeline(&room("a"), &event));
    alice.sync_once(PATIENCE).await.unwrap();
    assert!(alice.verifications().await.unwrap().is_empty());
    alice.import_room_keys(&key, "secret").await.unwrap();
    let all = alice.verifications().await.unwrap();
    let flows: Vec<&str> = all.iter().map(|one| one.flow_id.as_str()).collect();
    assert_eq!(flows, ["$ask"]);
}

/// A well-formed ciphertext whose key nobody has: version, index, some bytes, and a MAC and a signature of noise.
fn ciphertext_of_nobody() -> String {
    let mut bytes = vec![3, 8, 0, 18, 16];
    bytes.extend([7; 16 + 8 + 64]);
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD_NO_PAD, bytes)
}

#[tokio::test]
async fn a_verification_is_taken_in_the_clear_in_an_encrypted_room() {
    let server = FakeServer::start().await;
    let alice = server.alice(Arc::new(MemoryStore::new())).await;
    server.push_sync(joined(&room("a"), true));
    alice.sync_once(PATIENCE).await.unwrap();
    let request = |id: &str, to: &str| {
        json!({
            "type": "m.room.message", "event_id": id, "sender": "@bob:two", "origin_server_ts": alice.now_ms(),
            "content": {
                "msgtype": "m.key.verification.request", "body": "", "to": to, "from_device": "BOB", "methods": ["m.sas.v1"],
            },
        })
    };
    server.push_sync(timeline(&room("a"), &request("$other", "@carol:one")));
    server.push_sync(timeline(&room("a"), &request("$ours", "@alice:one")));
    alice.sync_once(PATIENCE).await.unwrap();
    alice.sync_once(PATIENCE).await.unwrap();
    let all = alice.verifications().await.unwrap();
    let flows: Vec<&str> = all.iter().map(|one| one.flow_id.as_str()).collect();
    assert_eq!(flows, ["$ours"]);
    let cancel = json!({
        "type": "m.key.verification.cancel", "event_id": "$end", "sender": "@bob:two", "origin_server_ts": 1,
        "content": {
            "code": "m.user", "reason": "", "m.relates_to": {"rel_type": "m.reference", "event_id": "$ours"},
        },
    });
    server.push_sync(timeline(&room("a"), &cancel));
    alice.sync_once(PATIENCE).await.unwrap();
    let ended = &alice.verifications().await.unwrap()[0].stage;
    assert!(
        matches!(ended, VerificationStage::Cancelled { by_us: false, .. }),
        "{ended:?}"
    );
}
