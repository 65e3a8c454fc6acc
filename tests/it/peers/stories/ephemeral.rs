//! What passes: who types, and who has read how far.

use passeur_tests::user::{User, escape};
use serde_json::{Value, json};

use super::stage::{Stage, unique};

/// What a sync shows of a kind among the ephemeral events of a room.
fn shown<'a>(sync: &'a Value, room: &str, kind: &str) -> Option<&'a Value> {
    let events = &sync["rooms"]["join"].get(room)?["ephemeral"]["events"];
    let event = events
        .as_array()?
        .iter()
        .find(|event| event["type"] == kind)?;
    Some(&event["content"])
}

pub(super) async fn typing_begins_and_ends(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let Stage { alice, bob, .. } = &mut stage;
    types(&room, alice, bob).await;
    types(&room, bob, alice).await;
}

async fn types(room: &str, writer: &User, reader: &mut User) {
    let path = format!("/v3/rooms/{}/typing/{}", escape(room), escape(&writer.id));
    writer
        .put(&path, json!({"typing": true, "timeout": 30_000}))
        .await;
    let typing = |sync: &Value| {
        let users = shown(sync, room, "m.typing")?["user_ids"].as_array()?;
        Some(users.contains(&json!(writer.id)))
    };
    reader
        .until_sync("the other to type", |sync| typing(sync)?.then_some(()))
        .await;
    writer.put(&path, json!({"typing": false})).await;
    reader
        .until_sync("the other to stop", |sync| (!typing(sync)?).then_some(()))
        .await;
}

pub(super) async fn receipts_travel_unless_they_are_private(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let Stage { alice, bob, .. } = &mut stage;
    reads(&room, alice, bob).await;
    reads(&room, bob, alice).await;
}

async fn reads(room: &str, writer: &mut User, reader: &mut User) {
    let mut said = Vec::new();
    for _ in 0..3 {
        let body = unique("quetzal: read this");
        said.push(writer.send_text(room, &body).await);
        reader.wait_text(room, &body).await;
    }
    let read = async |kind: &str, event: &str, body: Value| {
        let (room, event) = (escape(room), escape(event));
        let path = format!("/v3/rooms/{room}/receipt/{kind}/{event}");
        reader.post(&path, body).await;
    };
    read("m.read.private", &said[0], json!({})).await;
    read("m.read", &said[1], json!({})).await;
    let place = |sync: &Value| {
        let content = shown(sync, room, "m.receipt")?;
        assert!(content.get(&said[0]).is_none(), "a private receipt came");
        let id = reader.id.as_str();
        content.get(&said[1])?["m.read"].get(id).cloned()
    };
    let receipt = writer.until_sync("the other's receipt", place).await;
    assert!(receipt["ts"].is_u64(), "{receipt}");
    read("m.read", &said[2], json!({"thread_id": "main"})).await;
    let place = |sync: &Value| {
        let content = shown(sync, room, "m.receipt")?;
        let id = reader.id.as_str();
        content.get(&said[2])?["m.read"].get(id).cloned()
    };
    let receipt = writer.until_sync("the receipt of a thread", place).await;
    assert_eq!(receipt["thread_id"], "main", "{receipt}");
}
