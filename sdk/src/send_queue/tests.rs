//! The queue against a server that is away, refuses, or forgets to answer.

use serde_json::json;

use super::*;
use crate::{
    client::Blocked,
    fake_server::{FakeServer, PATIENCE, encryption, joined, room, timeline},
    store::MemoryStore,
};

mod lifetimes;

fn store() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new())
}

/// Alice, in these rooms.
async fn alice_in(server: &FakeServer, store: Arc<MemoryStore>, rooms: &[(&str, bool)]) -> Client {
    let alice = server.alice(store).await;
    for (name, encrypted) in rooms {
        server.push_sync(joined(&room(name), *encrypted));
        alice.sync_once(PATIENCE).await.unwrap();
    }
    alice
}

fn bodies(server: &FakeServer) -> Vec<String> {
    let shared = server.lock();
    let puts = shared.puts.iter();
    puts.map(|put| put.content["body"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn a_message_keeps_its_name_and_order_through_retries() {
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[("a", false)]).await;
    let gone = json!({"errcode": "M_UNKNOWN", "error": ""});
    server
        .lock()
        .refusals
        .extend([(503, gone.clone()), (502, gone)]);
    let first = alice.room(&room("a")).send_text("one").await.unwrap();
    let second = alice.room(&room("a")).send_text("two").await.unwrap();
    let name = first.transaction_id.to_string();
    first.event_id(PATIENCE).await.unwrap();
    second.event_id(PATIENCE).await.unwrap();
    assert_eq!(bodies(&server), ["one", "two"]);
    let shared = server.lock();
    assert_eq!(shared.tried[..3], [name.clone(), name.clone(), name]);
    assert_eq!(shared.tried.len(), 4);
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_not_asked_again_before() {
    const ASKED: Duration = Duration::from_millis(300);
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[("a", false)]).await;
    let busy = json!({"errcode": "M_LIMIT_EXCEEDED", "error": "", "retry_after_ms": 300});
    server.lock().refusals.push_back((429, busy));
    let started = tokio::time::Instant::now();
    let sending = alice.room(&room("a")).send_text("one").await.unwrap();
    sending.event_id(PATIENCE).await.unwrap();
    // Pauses of this client's own are of 5 ms at most.
    assert!(started.elapsed() >= ASKED);
    assert_eq!(server.lock().tried.len(), 2);
}

#[tokio::test]
async fn what_was_queued_is_sent_after_a_restart_under_its_name() {
    let server = FakeServer::start().await;
    let store = store();
    let alice = alice_in(&server, store.clone(), &[("a", false)]).await;
    server.lock().broken_room = Some(room("a").to_string());
    let name = alice
        .room(&room("a"))
        .send_text("late")
        .await
        .unwrap()
        .transaction_id;
    server
        .wait_for(|shared| (!shared.tried.is_empty()).then_some(()))
        .await;
    drop(alice);
    server.lock().broken_room = None;
    let alice = server.client(store).await;
    assert!(alice.restore().await.unwrap());
    let put = server.wait_for(|shared| shared.puts.first().cloned()).await;
    assert_eq!(
        (put.txn_id.as_str(), &put.content["body"]),
        (name.as_str(), &json!("late"))
    );
    assert!(alice.drain_queue(PATIENCE).await);
    assert_eq!(alice.inner.store.send_queue().await.unwrap(), []);
}

#[tokio::test]
async fn a_room_that_fails_holds_up_no_other() {
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[("a", false), ("b", false)]).await;
    server.lock().broken_room = Some(room("a").to_string());
    let stuck = alice.room(&room("a")).send_text("stuck").await.unwrap();
    alice
        .room(&room("b"))
        .send_text("free")
        .await
        .unwrap()
        .event_id(PATIENCE)
        .await
        .unwrap();
    assert_eq!(bodies(&server), ["free"]);
    assert!(alice.queue_len() == 1);
    server.lock().broken_room = None;
    stuck.event_id(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn what_the_server_refuses_for_good_lets_the_next_go() {
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[("a", false)]).await;
    server
        .lock()
        .refusals
        .push_back((403, json!({"errcode": "M_FORBIDDEN", "error": "no"})));
    let refused = alice.room(&room("a")).send_text("refused").await.unwrap();
    let taken = alice.room(&room("a")).send_text("taken").await.unwrap();
    let failure = refused.event_id(PATIENCE).await.unwrap_err();
    assert_eq!(failure, SendFailure::Refused("M_FORBIDDEN".to_owned()));
    taken.event_id(PATIENCE).await.unwrap();
    assert_eq!(bodies(&server), ["taken"]);
}

#[tokio::test]
async fn a_message_that_must_be_encrypted_waits_for_encryption() {
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[("a", false)]).await;
    let mut notifications = alice.notifications();
    let options = SendOptions {
        must_encrypt: true,
        ..SendOptions::default()
    };
    let sending = alice
        .room(&room("a"))
        .send_text_with("secret", options)
        .await
        .unwrap();
    let blocked = notifications.wait_for(PATIENCE, |notification| match notification {
        Notification::Send(SendUpdate::Blocked { reason, .. }) => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(blocked.await, Some(Blocked::NotEncrypted));
    assert!(server.lock().tried.is_empty());
    server.push_sync(timeline(&room("a"), &encryption()));
    alice.sync_once(PATIENCE).await.unwrap();
    sending.event_id(PATIENCE).await.unwrap();
    let put = server.lock().puts[0].clone();
    assert_eq!(put.event_type, "m.room.encrypted");
    assert!(!put.content.to_string().contains("secret"));
}

#[tokio::test]
async fn an_encrypted_room_stays_encrypted_whatever_the_server_says() {
    let server = FakeServer::start().await;
    let store = store();
    let alice = alice_in(&server, store.clone(), &[("a", true)]).await;
    let mut undone = encryption();
    undone["content"] = json!({});
    server.push_sync(timeline(&room("a"), &undone));
    alice.sync_once(PATIENCE).await.unwrap();
    drop(alice);
    let alice = server.client(store).await;
    alice.restore().await.unwrap();
    alice
        .room(&room("a"))
        .send_text("secret")
        .await
        .unwrap()
        .event_id(PATIENCE)
        .await
        .unwrap();
    assert_eq!(server.lock().puts[0].event_type, "m.room.encrypted");
}

#[tokio::test]
async fn a_ciphertext_is_sent_again_as_it_was() {
    let server = FakeServer::start().await;
    let store = store();
    let alice = alice_in(&server, store.clone(), &[("a", true)]).await;
    server.lock().broken_room = Some(room("a").to_string());
    alice.room(&room("a")).send_text("secret").await.unwrap();
    server
        .wait_for(|shared| (!shared.tried.is_empty()).then_some(()))
        .await;
    let kept = alice.inner.store.send_queue().await.unwrap();
    assert_eq!(kept[0].state, crate::store::SendState::Encrypted);
    assert!(!String::from_utf8_lossy(kept[0].body.expose()).contains("secret"));
    let (_, waiting) = QueuedMessage::from_item(&kept[0]).unwrap();
    drop(alice);
    server.lock().broken_room = None;
    let alice = server.client(store).await;
    alice.restore().await.unwrap();
    let put = server.wait_for(|shared| shared.puts.first().cloned()).await;
    assert_eq!(put.content.as_object(), waiting.message.wire.as_ref());
}

#[tokio::test]
async fn an_edit_of_a_queued_message_gets_its_id() {
    let server = FakeServer::start().await;
    let store = store();
    let alice = alice_in(&server, store.clone(), &[("a", false)]).await;
    server.lock().broken_room = Some(room("a").to_string());
    let keep = SendOptions {
        keep_receipt: true,
        ..SendOptions::default()
    };
    let original = alice
        .room(&room("a"))
        .send_text_with("one", keep)
        .await
        .unwrap();
    let target = Target::Queued(original.transaction_id.clone());
    let edit = alice
        .room(&room("a"))
        .edit(target.clone(), "two")
        .await
        .unwrap();
    server.lock().broken_room = None;
    let event_id = original.event_id(PATIENCE).await.unwrap();
    edit.event_id(PATIENCE).await.unwrap();
    let relation = server.lock().puts[1].content["m.relates_to"].clone();
    assert_eq!(
        relation,
        json!({"rel_type": "m.replace", "event_id": event_id})
    );
    // Later, and by a process that knows only the name.
    drop(alice);
    let alice = server.client(store).await;
    alice.restore().await.unwrap();
    let again = alice.room(&room("a")).edit(target, "three").await.unwrap();
    again.event_id(PATIENCE).await.unwrap();
    let relation = server.lock().puts[2].content["m.relates_to"].clone();
    assert_eq!(relation["event_id"], json!(event_id));
}

#[tokio::test]
async fn an_edit_of_nothing_is_refused() {
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[("a", false)]).await;
    let target = Target::Queued("unheard-of".into());
    let refused = alice.room(&room("a")).edit(target, "x").await.unwrap_err();
    assert!(matches!(refused, ClientError::UnknownTarget));
}

#[tokio::test]
async fn a_message_can_be_cancelled_while_it_waits() {
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[]).await;
    // A room that nothing is known of: the message waits.
    let sending = alice.room(&room("a")).send_text("oops").await.unwrap();
    let name = sending.transaction_id.clone();
    while !alice.cancel(&name).await.unwrap() {
        tokio::task::yield_now().await;
    }
    assert!(!alice.cancel(&name).await.unwrap());
    let failure = sending.event_id(PATIENCE).await.unwrap_err();
    assert_eq!(failure, SendFailure::Refused("cancelled".to_owned()));
    assert_eq!(alice.inner.store.send_queue().await.unwrap(), []);
    assert!(server.lock().tried.is_empty());
}

#[tokio::test]
async fn what_is_being_cancelled_is_not_sent_meanwhile() {
    let server = FakeServer::start().await;
    let store = Arc::new(crate::store::GatedStore::new());
    let alice = server.alice(store.clone()).await;
    server.push_sync(joined(&room("a"), false));
    alice.sync_once(PATIENCE).await.unwrap();
    server.lock().broken_room = Some(room("a").to_string());
    let handle = alice.room(&room("a"));
    let oops = handle.send_text("oops").await.unwrap().transaction_id;
    let edit = handle.edit(Target::Queued(oops.clone()), "well").await;
    store.set_open(false);
    let canceller = alice.clone();
    let cancelling = tokio::spawn(async move {
        while !canceller.cancel(&oops).await.unwrap() {
            tokio::task::yield_now().await;
        }
    });
    store.is_waited_for().await;
    // The deletion is not on disk yet, and the server is back; each sync has the room tried again.
    server.lock().broken_room = None;
    for _ in 0..5 {
        server.push_sync(json!({}));
        alice.sync_once(PATIENCE).await.unwrap();
    }
    store.set_open(true);
    cancelling.await.unwrap();
    edit.unwrap().event_id(PATIENCE).await.unwrap();
    assert_eq!(
        bodies(&server),
        ["well"],
        "what would have changed the message stands for itself"
    );
    assert!(alice.drain_queue(PATIENCE).await);
    assert_eq!(alice.inner.store.send_queue().await.unwrap(), []);
}

#[tokio::test]
async fn a_proxys_refusal_takes_nothing_out_of_the_queue() {
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[("a", false)]).await;
    let unrecognised = json!({"errcode": "M_UNRECOGNIZED", "error": ""});
    server.lock().refusals.extend([
        (403, json!("<html>no</html>")),
        (404, json!("<html>what?</html>")),
        (404, unrecognised),
        (400, json!({"errcode": "M_UNKNOWN", "error": ""})),
    ]);
    let first = alice.room(&room("a")).send_text("one").await.unwrap();
    let second = alice.room(&room("a")).send_text("two").await.unwrap();
    first.event_id(PATIENCE).await.unwrap();
    second.event_id(PATIENCE).await.unwrap();
    assert_eq!(bodies(&server), ["one", "two"]);
    // What speaks of the message itself does.
    server.lock().refusals.extend([
        (413, json!("<html>too large</html>")),
        (400, json!({"errcode": "M_BAD_JSON", "error": ""})),
    ]);
    for _ in 0..2 {
        let refused = alice.room(&room("a")).send_text("three").await.unwrap();
        assert!(matches!(
            refused.event_id(PATIENCE).await,
            Err(SendFailure::Refused(_))
        ));
    }
}

#[tokio::test]
async fn receipts_are_forgotten_when_they_are_no_longer_needed() {
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[("a", false)]).await;
    let keep = || SendOptions {
        keep_receipt: true,
        ..SendOptions::default()
    };
    let handle = alice.room(&room("a"));
    let one = handle.send_text_with("one", keep()).await.unwrap();
    let sent = one.transaction_id.clone();
    one.event_id(PATIENCE).await.unwrap();
    assert!(alice.receipt(&sent).await.unwrap().is_some());
    server.lock().broken_room = Some(room("a").to_string());
    let waiting = handle.send_text_with("two", keep()).await.unwrap();
    let forget = SendOptions {
        forget_receipts: vec![sent.clone(), waiting.transaction_id.clone()],
        ..SendOptions::default()
    };
    let last = handle.send_text_with("three", forget).await.unwrap();
    server.lock().broken_room = None;
    last.event_id(PATIENCE).await.unwrap();
    assert_eq!(alice.receipt(&sent).await.unwrap(), None);
    let receipt = alice.receipt(&waiting.transaction_id).await.unwrap();
    assert_eq!(receipt, None, "of what waited, none is kept at all");
}

/// Alice and bob in an encrypted room.
fn with_bob() -> serde_json::Value {
    let mut sync = joined(&room("a"), true);
    let state = &mut sync["rooms"]["join"]["!a:one"]["state"]["events"];
    let mut member = state[0].clone();
    member["state_key"] = json!("@bob:two");
    member["sender"] = json!("@bob:two");
    state.as_array_mut().unwrap().push(member);
    sync
}

#[tokio::test]
async fn a_device_that_the_server_refuses_does_not_stop_the_room() {
    let server = FakeServer::start().await;
    for (name, device) in [("@bob:two", "B"), ("@carol:two", "BAD_DEVICE")] {
        let user = ruma::UserId::parse(name).unwrap();
        server.set_device(&user, device.into());
    }
    server.lock().bad_device = Some("BAD_DEVICE".to_owned());
    let alice = alice_in(&server, store(), &[]).await;
    let mut sync = with_bob();
    let state = &mut sync["rooms"]["join"]["!a:one"]["state"]["events"];
    let mut member = state[0].clone();
    member["state_key"] = json!("@carol:two");
    state.as_array_mut().unwrap().push(member);
    server.push_sync(sync);
    alice.sync_once(PATIENCE).await.unwrap();
    let mut notifications = alice.notifications();
    for text in ["one", "two"] {
        let sending = alice.room(&room("a")).send_text(text).await.unwrap();
        sending.event_id(PATIENCE).await.unwrap();
    }
    let refused = notifications.wait_for(PATIENCE, |notification| match notification {
        Notification::Crypto(crate::crypto::Notice::ToDeviceRefused { device_id, .. }) => {
            Some(device_id.to_string())
        }
        _ => None,
    });
    assert_eq!(refused.await.as_deref(), Some("BAD_DEVICE"));
    assert_eq!(server.lock().to_device.len(), 1, "bob was given the key");
}

#[tokio::test]
async fn a_changed_identity_blocks_the_room_until_it_is_accepted() {
    let server = FakeServer::start().await;
    let bob = ruma::user_id!("@bob:two");
    server.set_device(bob, "B".into());
    let alice = alice_in(&server, store(), &[]).await;
    server.push_sync(with_bob());
    alice.sync_once(PATIENCE).await.unwrap();
    alice
        .room(&room("a"))
        .send_text("one")
        .await
        .unwrap()
        .event_id(PATIENCE)
        .await
        .unwrap();
    assert_eq!(server.lock().to_device.len(), 1, "bob was given the key");
    // The server shows other keys under the same name.
    server.set_device(bob, "B".into());
    server.push_sync(json!({"device_lists": {"changed": [bob]}}));
    alice.sync_once(PATIENCE).await.unwrap();
    let mut notifications = alice.notifications();
    let sending = alice.room(&room("a")).send_text("two").await.unwrap();
    let blocked = notifications.wait_for(PATIENCE, |notification| match notification {
        Notification::Send(SendUpdate::Blocked { reason, .. }) => Some(reason.clone()),
        _ => None,
    });
    let Some(Blocked::IdentityChanged(changes)) = blocked.await else {
        panic!("not blocked")
    };
    assert_eq!(changes[0].user_id(), bob);
    assert_eq!(server.lock().puts.len(), 1);
    assert_eq!(server.lock().to_device.len(), 1, "nobody was given a key");
    alice.accept_identity_change(bob).await.unwrap();
    sending.event_id(PATIENCE).await.unwrap();
    assert_eq!(server.lock().to_device.len(), 2);
}

#[tokio::test]
async fn a_message_waits_until_members_devices_are_known() {
    let server = FakeServer::start().await;
    let alice = alice_in(&server, store(), &[]).await;
    server.lock().queries_fail = true;
    server.push_sync(with_bob());
    alice.sync_once(PATIENCE).await.unwrap();
    let sending = alice.room(&room("a")).send_text("one").await.unwrap();
    server
        .wait_for(|shared| (shared.queries >= 3).then_some(()))
        .await;
    assert!(server.lock().tried.is_empty());
    server.set_device(ruma::user_id!("@bob:two"), "B".into());
    server.lock().queries_fail = false;
    sending.event_id(PATIENCE).await.unwrap();
    assert_eq!(server.lock().to_device.len(), 1, "bob was given the key");
}
