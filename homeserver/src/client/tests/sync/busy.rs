//! Rooms with much going on beside messages.

use ruma::{OwnedEventId, OwnedRoomId, UserId};

use super::*;
use crate::store::{Change, LogKind, RecordReceipt, Scope, StoreError, Tx};

#[tokio::test]
async fn many_receipts_hide_no_message() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = next(&server.sync(&bob, "", "").await);
    let mut last = String::new();
    for number in 0..15 {
        last = server.say(&alice, &room, &format!("m{number}")).await;
    }
    let event_id: OwnedEventId = last.as_str().try_into().unwrap();
    let room_order = server.app.store.room_order_of(&event_id).await.unwrap();
    for number in 0..300 {
        let receipt = RecordReceipt {
            room_id: OwnedRoomId::try_from(room.as_str()).unwrap(),
            user_id: UserId::parse(format!("@reader{number}:elsewhere.org")).unwrap(),
            private: false,
            thread: String::new(),
            event_id: event_id.clone(),
            room_order: room_order.unwrap(),
            ts: 1,
        };
        server.app.store.commit(receipt).await.unwrap();
    }
    let server = server.restart().await;
    for since in ["", &since] {
        let answer = server.sync(&bob, since, "").await;
        let joined = &answer["rooms"]["join"][&room];
        let told = bodies(&joined["timeline"]["events"]);
        assert_eq!(told.len(), 10, "{}", joined["timeline"]);
        assert_eq!(joined["timeline"]["limited"], true);
        let from = joined["timeline"]["prev_batch"].as_str().unwrap();
        let path = format!("/rooms/{room}/messages?dir=b&limit=1&from={from}");
        let page = expect_ok(server.get(&bob, &path).await);
        assert_eq!(bodies(&page["chunk"]), ["m4"]);
        let receipts = &joined["ephemeral"]["events"][0]["content"][&last]["m.read"];
        assert_eq!(receipts.as_object().unwrap().len(), 300);
    }
    // What was read for one answer is no excuse for another to leave out receipts.
    let receipt = format!("/rooms/{room}/receipt/m.read/{last}");
    let since = next(&server.sync(&bob, &since, "").await);
    expect_ok(server.post(&alice, &receipt, json!({})).await);
    let answer = server.sync(&bob, &since, "").await;
    let told = answer["rooms"]["join"][&room]["ephemeral"].to_string();
    assert!(told.contains(&alice.id), "{answer}");
}

#[tokio::test]
async fn of_too_many_relations_the_newest_are_found() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let root = server.say(&alice, &room, "root").await;
    let mut sent = Vec::new();
    for number in 0..6 {
        let content = json!({
            "msgtype": "m.text", "body": "x",
            "m.relates_to": {"rel_type": "m.thread", "event_id": root},
        });
        let path = format!("/rooms/{room}/send/m.room.message/t{number}");
        let answer = expect_ok(server.put(&alice, &path, content).await);
        sent.push(answer["event_id"].as_str().unwrap().to_owned());
    }
    let root: OwnedEventId = root.try_into().unwrap();
    let found = server.app.store.relations(&root, None, 2).await.unwrap();
    let found: Vec<String> = found.iter().map(|event| event.id().to_string()).collect();
    assert_eq!(found, [sent[5].clone(), sent[4].clone()]);
}

#[tokio::test]
async fn a_listing_of_state_does_not_say_what_each_event_replaced() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let path = format!("/rooms/{room}/state/m.room.topic/");
    for topic in ["old", "new"] {
        expect_ok(server.put(&alice, &path, json!({"topic": topic})).await);
    }
    // That would take one whole state for each event; one event by itself says it.
    let state = expect_ok(server.get(&alice, &format!("/rooms/{room}/state")).await);
    let mut state = state.as_array().unwrap().iter();
    let topic = state.find(|event| event["type"] == "m.room.topic").unwrap();
    assert_eq!(topic["content"]["topic"], "new");
    assert!(topic["unsigned"].get("prev_content").is_none(), "{topic}");
    let id = topic["event_id"].as_str().unwrap();
    let path = format!("/rooms/{room}/event/{id}");
    let topic = expect_ok(server.get(&alice, &path).await);
    assert_eq!(topic["unsigned"]["prev_content"]["topic"], "old");
}

/// What a purge leaves in the log of a room.
struct Purged {
    room: OwnedRoomId,
    event: String,
    times: usize,
}

impl Change for Purged {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        for _ in 0..self.times {
            let event = Some(self.event.clone());
            tx.append(Scope::Room(&self.room), LogKind::Expired, event);
        }
        Ok(())
    }
}

#[tokio::test]
async fn much_that_expires_hides_no_message() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let old = server.say(&alice, &room, "old").await;
    let since = next(&server.sync(&alice, "", "").await);
    for number in 0..15 {
        server.say(&alice, &room, &format!("m{number}")).await;
    }
    let purged = Purged {
        room: OwnedRoomId::try_from(room.as_str()).unwrap(),
        event: old.clone(),
        times: 300,
    };
    server.app.store.commit(purged).await.unwrap();
    let server = server.restart().await;
    for since in ["", &since] {
        let answer = server.sync(&alice, since, "").await;
        let timeline = &answer["rooms"]["join"][&room]["timeline"];
        let told = bodies(&timeline["events"]);
        assert_eq!(told.len(), 10, "{timeline}");
        // Who may hold what has expired is told so all the same.
        let is_told = timeline.to_string().contains(&old);
        assert_eq!(is_told, !since.is_empty(), "{timeline}");
    }
}
