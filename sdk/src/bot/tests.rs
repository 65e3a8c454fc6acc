//! Bots against a small server: whom they obey, and what their outbox sends.

use std::sync::Arc;

use ruma::{owned_event_id, owned_user_id, serde::JsonObject};
use serde_json::{Value, json};

use super::*;
use crate::{
    Client, Encrypted, Event, EventContent, Protection, Room,
    clock::ManualClock,
    crypto::{PlaintextVerdict, Relation, Trust},
    expiry::ExpiryClass,
    fake_server::{FakeServer, PATIENCE, joined, room, timeline},
    store::MemoryStore,
};

/// Alice's client, in a room that is not encrypted, so that the tests can read what is sent.
async fn alice(server: &FakeServer, store: &Arc<MemoryStore>, clock: &ManualClock) -> Client {
    let builder = Client::builder()
        .homeserver(&server.url)
        .clock(Arc::new(clock.clone()));
    let client = builder.store_with(store.clone()).build().await.unwrap();
    if !client.restore().await.unwrap() {
        client.login_password("alice", "secret").await.unwrap();
    }
    client
}

fn object(value: Value) -> JsonObject {
    serde_json::from_value(value).unwrap()
}

fn post(body: &str, last: bool) -> Post {
    let content = object(json!({"msgtype": "m.text", "body": body}));
    Post {
        content,
        expiry: Some(ExpiryClass::Hour1),
        last,
    }
}

/// What waits in the queue, oldest first: the plaintext content of each message.
async fn queued(client: &Client) -> Vec<JsonObject> {
    let items = client.inner.store.send_queue().await.unwrap();
    let read = |item: &crate::store::SendQueueItem| {
        let body: Value = serde_json::from_slice(item.body.expose()).unwrap();
        object(body["content"].clone())
    };
    items.iter().map(read).collect()
}

#[tokio::test]
async fn a_key_is_one_message_and_its_edits() {
    let server = FakeServer::start().await;
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::at(1_000_000));
    let client = alice(&server, &store, &clock).await;
    let outbox = Outbox::open(client.room(&room("a")), "test").await.unwrap();
    assert_eq!(
        outbox.put("disk", post("full", false)).await.unwrap(),
        Posted::New
    );
    assert_eq!(
        outbox.put("disk", post("full", false)).await.unwrap(),
        Posted::Unchanged
    );
    assert_eq!(
        outbox.put("disk", post("fuller", false)).await.unwrap(),
        Posted::Edit
    );
    assert_eq!(
        outbox.put("cpu", post("hot", false)).await.unwrap(),
        Posted::New
    );
    assert_eq!(outbox.open_keys().await, 2);
    drop((outbox, client));
    // Another process goes on where this one was left.
    let client = alice(&server, &store, &clock).await;
    let outbox = Outbox::open(client.room(&room("a")), "test").await.unwrap();
    assert_eq!(
        outbox.put("disk", post("good again", true)).await.unwrap(),
        Posted::Edit
    );
    assert_eq!(
        outbox.put("disk", post("good again", true)).await.unwrap(),
        Posted::Unchanged
    );
    assert_eq!(
        outbox.put("disk", post("full", false)).await.unwrap(),
        Posted::New
    );
    let queued = queued(&client).await;
    let bodies: Vec<_> = queued
        .iter()
        .map(|content| content["body"].as_str().unwrap())
        .collect();
    assert_eq!(bodies, ["full", "* fuller", "hot", "* good again", "full"]);
    assert_eq!(queued[1]["m.new_content"]["body"], "fuller");
    assert_eq!(queued[1]["m.relates_to"]["rel_type"], "m.replace");
}

#[tokio::test]
async fn an_expired_message_is_not_edited() {
    let server = FakeServer::start().await;
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::at(1_000_000));
    let client = alice(&server, &store, &clock).await;
    let outbox = Outbox::open(client.room(&room("a")), "test").await.unwrap();
    outbox.put("disk", post("full", false)).await.unwrap();
    clock.advance(ExpiryClass::Hour1.as_ms() - 1);
    assert_eq!(
        outbox.put("disk", post("fuller", false)).await.unwrap(),
        Posted::Edit
    );
    clock.advance(1);
    assert_eq!(outbox.open_keys().await, 0);
    assert_eq!(
        outbox.put("disk", post("fuller", false)).await.unwrap(),
        Posted::New
    );
}

#[tokio::test]
async fn a_message_that_was_refused_is_not_edited() {
    let server = FakeServer::start().await;
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::at(1_000_000));
    let client = alice(&server, &store, &clock).await;
    let outbox = Outbox::open(client.room(&room("a")), "test").await.unwrap();
    outbox.put("disk", post("full", false)).await.unwrap();
    let name = client.inner.store.send_queue().await.unwrap()[0]
        .txn_id
        .clone();
    while !client.cancel(&name).await.unwrap() {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        outbox.put("disk", post("full", false)).await.unwrap(),
        Posted::New
    );
}

/// An encrypted room with that policy.
fn encrypted_with(policy: &Value) -> Value {
    let mut sync = joined(&room("a"), true);
    let policy = json!({
        "type": "org.passeur.room.expiry", "state_key": "", "sender": "@alice:one",
        "event_id": "$p", "origin_server_ts": 1, "content": policy
    });
    let state = &mut sync["rooms"]["join"]["!a:one"]["state"]["events"];
    state.as_array_mut().unwrap().push(policy);
    sync
}

async fn hear(client: &Client, server: &FakeServer, sync: Value) {
    server.push_sync(sync);
    client.sync_once(PATIENCE).await.unwrap();
}

const HOUR_MS: u64 = ExpiryClass::Hour1.as_ms();

#[tokio::test]
async fn a_message_that_the_rooms_policy_has_killed_is_not_edited() {
    let policy = |ms: u64| encrypted_with(&json!({"default_ms": ms, "max_ms": ms}));
    // What was wished, by the severity of an alert, and `None` for one that is never to expire.
    for wished in [Some(ExpiryClass::Days28), None] {
        let server = FakeServer::start().await;
        let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::at(1_000_000));
        let client = alice(&server, &store, &clock).await;
        hear(&client, &server, policy(8 * HOUR_MS)).await;
        let outbox = Outbox::open(client.room(&room("a")), "test").await.unwrap();
        let put = async |body: &str| {
            let post = Post {
                expiry: wished,
                ..post(body, false)
            };
            outbox.put("disk", post).await.unwrap()
        };
        assert_eq!(put("full").await, Posted::New);
        clock.advance(8 * HOUR_MS - 1);
        assert_eq!(put("fuller").await, Posted::Edit);
        clock.advance(1);
        assert_eq!(put("fuller").await, Posted::New);
        // A policy that comes later kills sooner, and for good.
        clock.advance(HOUR_MS);
        hear(&client, &server, policy(HOUR_MS)).await;
        assert_eq!(put("full").await, Posted::New);
    }
}

#[tokio::test]
async fn what_was_refused_for_good_is_said_again() {
    let server = FakeServer::start().await;
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::at(1_000_000));
    let client = alice(&server, &store, &clock).await;
    hear(&client, &server, joined(&room("a"), true)).await;
    let outbox = Outbox::open(client.room(&room("a")), "test").await.unwrap();
    let mut notifications = client.notifications();
    let mut put = async |body: &str, taken: bool| {
        if !taken {
            let refusal = (403, json!({"errcode": "M_FORBIDDEN", "error": ""}));
            server.lock().refusals.push_back(refusal);
        }
        let posted = outbox.put("disk", post(body, false)).await.unwrap();
        let left = notifications.wait_for(PATIENCE, |notification| match notification {
            crate::Notification::Send(crate::SendUpdate::Failed { .. }) => Some(false),
            crate::Notification::Send(crate::SendUpdate::Sent { .. }) => Some(true),
            _ => None,
        });
        assert_eq!(left.await, Some(taken), "{body}");
        posted
    };
    assert_eq!(put("full", false).await, Posted::New);
    assert_eq!(put("full", true).await, Posted::New);
    assert_eq!(put("fuller", false).await, Posted::Edit);
    assert_eq!(put("fuller", true).await, Posted::Edit);
    let again = outbox.put("disk", post("fuller", false)).await.unwrap();
    assert_eq!(again, Posted::Unchanged);
    let receipts = receipts(&store).await;
    assert_eq!(receipts, 2, "of the message and of its newest edit");
}

/// How many event IDs are kept.
async fn receipts(store: &MemoryStore) -> usize {
    store
        .value_names()
        .iter()
        .filter(|name| name.starts_with("receipt."))
        .count()
}

#[tokio::test]
async fn an_edit_of_the_largest_message_fits_an_event() {
    let server = FakeServer::start().await;
    let (store, clock) = (Arc::new(MemoryStore::new()), ManualClock::at(1_000_000));
    let client = alice(&server, &store, &clock).await;
    hear(&client, &server, joined(&room("a"), true)).await;
    let outbox = Outbox::open(client.room(&room("a")), "test").await.unwrap();
    for (letter, posted) in [("é", Posted::New), ("\"", Posted::Edit)] {
        let text = letter.repeat(10 * 1024);
        let content = json!({
            "msgtype": "m.text", "body": text,
            "format": "org.matrix.custom.html", "formatted_body": text
        });
        let post = Post {
            content: object(content),
            ..post("", false)
        };
        assert_eq!(outbox.put("disk", post).await.unwrap(), posted);
    }
    assert!(client.drain_queue(PATIENCE).await);
    assert_eq!(server.lock().puts.len(), 2);
}

fn said(room: &Room, body: &str, protection: Protection) -> Event {
    Event {
        room_id: room.id().to_owned(),
        event_id: owned_event_id!("$said"),
        sender: owned_user_id!("@bob:two"),
        origin_server_ts_ms: 1,
        event_type: "m.room.message".to_owned(),
        state_key: None,
        protection,
        transaction_id: None,
        content: EventContent::new(object(json!({"msgtype": "m.text", "body": body}))),
    }
}

fn from_device(trust: Trust) -> Protection {
    let relation = Relation::None;
    Protection::Encrypted(Encrypted {
        trust,
        device: None,
        relation,
        expiry: None,
        seen_before: false,
        missing_before: 0,
    })
}

/// How many replies the bot queues when it hears this.
async fn replies(bot: &Bot, event: &Event) -> Vec<JsonObject> {
    let client = bot.client();
    let before = queued(client).await.len();
    bot.obey(event, &Arc::default()).await;
    queued(client).await.split_off(before)
}

async fn greet(Sender(who): Sender, Words(words): Words) -> String {
    format!("{who} said {}", words.join("+"))
}

async fn echo(Rest(rest): Rest) -> String {
    rest.to_string()
}

async fn with_state(State(number): State<u32>) -> String {
    number.to_string()
}

#[tokio::test]
async fn commands_get_their_arguments_and_are_answered() {
    let server = FakeServer::start().await;
    let client = alice(&server, &Arc::new(MemoryStore::new()), &ManualClock::at(1)).await;
    let room = client.room(&room("a"));
    let bot = Bot::new(client)
        .command("greet", "greets", greet)
        .command("echo", "repeats", echo)
        .command("state", "has none", with_state);
    for (said_text, answer) in [
        ("!greet a  b", "@bob:two said a+b"),
        ("!echo a  b", "a  b"),
        ("!echo", "echo needs something to work on."),
        ("!state", "This bot is not set up for that."),
        ("!help", "!echo: repeats\n!greet: greets\n!state: has none"),
    ] {
        let replies = replies(&bot, &said(&room, said_text, from_device(Trust::FirstUse))).await;
        assert_eq!(replies.len(), 1, "{said_text}");
        assert_eq!(replies[0]["body"], answer);
        assert_eq!(replies[0]["msgtype"], "m.notice");
    }
}

#[tokio::test]
async fn only_authentic_commands_are_obeyed() {
    let server = FakeServer::start().await;
    let client = alice(&server, &Arc::new(MemoryStore::new()), &ManualClock::at(1)).await;
    let room = client.room(&room("a"));
    let bot = Bot::new(client.clone()).command("echo", "repeats", echo);
    for protection in [
        Protection::Clear(PlaintextVerdict::Fine),
        Protection::Clear(PlaintextVerdict::Unencrypted),
        Protection::Gone,
        from_device(Trust::Unsigned),
        from_device(Trust::UnknownDevice),
        from_device(Trust::IdentityChanged),
    ] {
        assert!(
            replies(&bot, &said(&room, "!echo x", protection.clone()))
                .await
                .is_empty()
        );
    }
    let unknown = said(&room, "!unheard", from_device(Trust::Verified));
    assert!(replies(&bot, &unknown).await.is_empty());
    let Protection::Encrypted(mut again) = from_device(Trust::Verified) else {
        unreachable!()
    };
    again.seen_before = true;
    let again = said(&room, "!echo x", Protection::Encrypted(again));
    assert!(replies(&bot, &again).await.is_empty());
    let strict = Bot::new(client).operators(vec![owned_user_id!("@carol:two")]);
    let strict = strict.command("echo", "repeats", echo);
    let authentic = said(&room, "!echo x", from_device(Trust::Verified));
    assert!(replies(&strict, &authentic).await.is_empty());
    assert_eq!(replies(&bot, &authentic).await.len(), 1);
}

#[tokio::test]
async fn a_reply_never_leaves_in_the_clear() {
    let server = FakeServer::start().await;
    let client = alice(&server, &Arc::new(MemoryStore::new()), &ManualClock::at(1)).await;
    server.push_sync(joined(&room("a"), false));
    client.sync_once(PATIENCE).await.unwrap();
    let mut notifications = client.notifications();
    let room = client.room(&room("a"));
    let bot = Bot::new(client).command("echo", "repeats", echo);
    let authentic = said(&room, "!echo x", from_device(Trust::Verified));
    assert_eq!(replies(&bot, &authentic).await.len(), 1);
    let blocked = notifications.wait_for(PATIENCE, |notification| match notification {
        crate::Notification::Send(crate::SendUpdate::Blocked { reason, .. }) => {
            Some(reason.clone())
        }
        _ => None,
    });
    assert_eq!(blocked.await, Some(crate::Blocked::NotEncrypted));
    assert!(server.lock().tried.is_empty());
}

#[tokio::test]
async fn a_bot_ends_when_it_is_told() {
    let server = FakeServer::start().await;
    let client = alice(&server, &Arc::new(MemoryStore::new()), &ManualClock::at(1)).await;
    let (end, told) = tokio::sync::oneshot::channel::<()>();
    let bot = Bot::new(client).command("echo", "repeats", echo);
    let running = tokio::spawn(bot.run(async {
        let _ = told.await;
    }));
    server
        .wait_for(|shared| (!shared.since.is_empty()).then_some(()))
        .await;
    end.send(()).unwrap();
    running.await.unwrap().unwrap();
}

fn member(user: &str) -> Value {
    json!({
        "type": "m.room.member", "state_key": user, "sender": user, "event_id": "$j",
        "origin_server_ts": 1, "content": {"membership": "join"}
    })
}

#[tokio::test]
async fn who_joins_later_is_announced_and_waits_for_an_operator() {
    let server = FakeServer::start().await;
    let client = alice(&server, &Arc::new(MemoryStore::new()), &ManualClock::at(1)).await;
    let (bob, carol) = (owned_user_id!("@bob:two"), owned_user_id!("@carol:two"));
    let handle = client.room(&room("a"));
    // Nobody's devices can be had, so that what the bot says stays in the queue, to be read.
    server.lock().queries_fail = true;
    let bot = Bot::new(client.clone()).members(vec![bob.clone()]);
    let mut sync = joined(&room("a"), true);
    let state = &mut sync["rooms"]["join"]["!a:one"]["state"]["events"];
    state.as_array_mut().unwrap().push(member(bob.as_str()));
    hear(&client, &server, sync).await;
    bot.accept_known().await;
    let mut notifications = client.notifications();
    hear(
        &client,
        &server,
        timeline(&room("a"), &member(carol.as_str())),
    )
    .await;
    let waits = notifications.wait_for(PATIENCE, |notification| match notification {
        crate::Notification::Crypto(crate::crypto::Notice::MemberWaits { user_id, .. }) => {
            Some((user_id.clone(), notification.clone()))
        }
        _ => None,
    });
    let (who, notification) = waits.await.unwrap();
    assert_eq!(who, carol);
    assert_eq!(
        handle.waiting_members().await.unwrap(),
        std::slice::from_ref(&carol)
    );
    bot.meet(&notification).await;
    let said_text = queued(&client).await[0]["body"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(said_text.contains("!accept @carol:two"), "{said_text}");
    // Carol cannot let herself in, however well her device is known; Bob can.
    let accept = said(&handle, "!accept @carol:two", from_device(Trust::Verified));
    let mut by_carol = accept.clone();
    by_carol.sender = carol.clone();
    assert!(replies(&bot, &by_carol).await.is_empty());
    assert!(!handle.is_accepted(&carol).await.unwrap());
    for (text, answer) in [
        ("!accept", "accept needs to know whom."),
        ("!accept carol", "That is no user's ID."),
        ("!accept @dan:two", "No such member waits to be accepted."),
        (
            "!accept @carol:two",
            "They can read what I send from now on.",
        ),
    ] {
        let accept = said(&handle, text, from_device(Trust::Verified));
        assert_eq!(replies(&bot, &accept).await[0]["body"], answer);
    }
    assert!(handle.is_accepted(&carol).await.unwrap());
}
