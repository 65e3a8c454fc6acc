//! How long what leaves the queue lives, and what happens to what died in it.

use ruma::owned_event_id;
use serde_json::Value;

use super::*;
use crate::{
    clock::ManualClock,
    expiry::{EXPIRY_FIELD, SALT_FIELD},
};

/// Alice by a clock of the test's, logged in.
async fn alice(server: &FakeServer, clock: &ManualClock) -> Client {
    let pause = Duration::from_millis(1);
    let builder = Client::builder().homeserver(&server.url);
    let builder = builder.clock(Arc::new(clock.clone())).store_with(store());
    let client = builder.retry_pauses(pause, 5 * pause).build().await;
    let client = client.unwrap();
    client.login_password("alice", "secret").await.unwrap();
    client
}

fn state_event(kind: &str, content: &Value) -> Value {
    json!({
        "type": kind, "state_key": "", "sender": "@alice:one", "event_id": "$p",
        "origin_server_ts": 1, "content": content
    })
}

/// Alice's room with some state besides.
fn joined_with(encrypted: bool, more: &[Value]) -> Value {
    let mut sync = joined(&room("a"), encrypted);
    let state = &mut sync["rooms"]["join"]["!a:one"]["state"]["events"];
    state.as_array_mut().unwrap().extend_from_slice(more);
    sync
}

async fn hear(alice: &Client, server: &FakeServer, sync: Value) {
    server.push_sync(sync);
    alice.sync_once(PATIENCE).await.unwrap();
}

fn lasting(class: ExpiryClass) -> SendOptions {
    SendOptions {
        expiry: Some(class),
        keep_receipt: true,
        ..SendOptions::default()
    }
}

/// The lifetimes that stand outside of what was sent, in milliseconds.
fn lifetimes(server: &FakeServer) -> Vec<Option<u64>> {
    let shared = server.lock();
    let puts = shared.puts.iter();
    puts.map(|put| put.content[EXPIRY_FIELD]["ttl_ms"].as_u64())
        .collect()
}

async fn sent(sending: Result<Sending, ClientError>) -> OwnedEventId {
    sending.unwrap().event_id(PATIENCE).await.unwrap()
}

#[tokio::test]
async fn a_message_that_waited_lives_as_the_policy_says_when_it_leaves() {
    for (policy, lifetime_ms) in [
        (
            state_event(
                "org.passeur.room.expiry",
                &json!({"default_ms": 300_000, "max_ms": 300_000}),
            ),
            300_000,
        ),
        (
            state_event("m.room.retention", &json!({"max_lifetime": 86_400_000})),
            86_400_000,
        ),
    ] {
        let server = FakeServer::start().await;
        let alice = alice(&server, &ManualClock::at(1_000_000)).await;
        // Nothing is known of the room yet.
        let early = alice.room(&room("a")).send_text("early").await;
        hear(&alice, &server, joined_with(true, &[policy])).await;
        sent(early).await;
        assert_eq!(lifetimes(&server), [Some(lifetime_ms)]);
    }
}

#[tokio::test]
async fn edits_and_reactions_live_no_longer_than_their_target() {
    let server = FakeServer::start().await;
    let alice = alice(&server, &ManualClock::at(1_000_000)).await;
    hear(&alice, &server, joined(&room("a"), true)).await;
    let room = alice.room(&room("a"));
    let five_minutes = lasting(ExpiryClass::Minutes5);
    let target = Target::Event(sent(room.send_text_with("one", five_minutes).await).await);
    sent(room.edit(target.clone(), "two").await).await;
    sent(room.react(target.clone(), "+").await).await;
    let shorter = lasting(ExpiryClass::Seconds30);
    sent(room.edit_with(target, "three", shorter).await).await;
    // Of a message that does not expire, nor of one that is not known, nothing is inherited.
    let unknown = Target::Event(owned_event_id!("$unknown"));
    sent(room.edit(unknown, "four").await).await;
    let five = Some(300_000);
    assert_eq!(lifetimes(&server), [five, five, five, Some(30_000), None]);
}

#[tokio::test]
async fn an_edit_of_a_message_that_died_says_it_anew() {
    let server = FakeServer::start().await;
    let clock = ManualClock::at(1_000_000);
    let alice = alice(&server, &clock).await;
    hear(&alice, &server, joined(&room("a"), false)).await;
    let handle = alice.room(&room("a"));
    let options = lasting(ExpiryClass::Minutes5);
    let target = Target::Event(sent(handle.send_text_with("one", options).await).await);
    server.lock().broken_room = Some(room("a").to_string());
    let edit = handle.edit(target.clone(), "two").await;
    let reaction = handle.react(target, "+").await.unwrap();
    clock.advance(ExpiryClass::Minutes5.as_ms());
    server.lock().broken_room = None;
    sent(edit).await;
    let put = server.lock().puts[1].content.clone();
    assert_eq!(put["body"], "two");
    assert_eq!(put.get("m.relates_to"), None);
    let failure = reaction.event_id(PATIENCE).await.unwrap_err();
    assert_eq!(failure, SendFailure::Refused("expired".to_owned()));
}

#[tokio::test]
async fn a_lifetime_is_kept_where_nothing_is_encrypted() {
    let server = FakeServer::start().await;
    let alice = alice(&server, &ManualClock::at(1_000_000)).await;
    hear(&alice, &server, joined(&room("a"), false)).await;
    let handle = alice.room(&room("a"));
    sent(
        handle
            .send_text_with("x", lasting(ExpiryClass::Minutes5))
            .await,
    )
    .await;
    sent(
        handle
            .send_text_with("x", lasting(ExpiryClass::Minutes5))
            .await,
    )
    .await;
    sent(handle.send_text("x").await).await;
    assert_eq!(lifetimes(&server), [Some(300_000), Some(300_000), None]);
    let shared = server.lock();
    let salt = |place: usize| shared.puts[place].content[SALT_FIELD].as_str();
    assert_eq!(salt(0).unwrap().len(), 43);
    assert_ne!(salt(0), salt(1));
    assert_eq!(salt(2), None);
}

#[tokio::test]
async fn a_ciphertext_that_nobody_can_read_any_more_is_not_sent() {
    let server = FakeServer::start().await;
    let clock = ManualClock::at(1_000_000);
    let alice = alice(&server, &clock).await;
    hear(&alice, &server, joined(&room("a"), true)).await;
    let handle = alice.room(&room("a"));
    for (waited_ms, arrives) in [(29_999, true), (30_000, false)] {
        server.lock().broken_room = Some(room("a").to_string());
        let tried = server.lock().tried.len();
        let options = lasting(ExpiryClass::Seconds30);
        let sending = handle.send_text_with("soon over", options).await.unwrap();
        server
            .wait_for(|shared| (shared.tried.len() > tried).then_some(()))
            .await;
        clock.advance(waited_ms);
        server.lock().broken_room = None;
        let outcome = sending.event_id(PATIENCE).await;
        assert_eq!(outcome.is_ok(), arrives, "{waited_ms}: {outcome:?}");
    }
    assert_eq!(server.lock().puts.len(), 1);
    assert!(alice.drain_queue(PATIENCE).await);
}
