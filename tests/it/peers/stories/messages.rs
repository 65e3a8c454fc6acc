//! What people say, correct and take back.

use passeur_tests::user::User;
use serde_json::{Value, json};

use super::stage::Stage;

pub(super) async fn each_hears_the_other(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    stage.talk(&room).await;
    stage.agree(&room).await;
}

/// An edit and a reaction from the other side are bundled with what they are about.
pub(super) async fn edits_and_reactions_are_counted(mut stage: Stage) {
    let room = stage.shared_room().await;
    let Stage { alice, bob, .. } = &mut stage;
    say_and_edit(&room, alice, bob).await;
    say_and_edit(&room, bob, alice).await;
}

async fn say_and_edit(room: &str, writer: &mut User, reader: &mut User) {
    let said = writer.send_text(room, "quetzal: a thingo").await;
    reader
        .wait_event(room, |event| event["event_id"] == said.as_str())
        .await;
    let content = json!({
        "msgtype": "m.text", "body": "* quetzal: a thing",
        "m.new_content": {"msgtype": "m.text", "body": "quetzal: a thing"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": said},
    });
    let edit = writer.send(room, "m.room.message", content).await;
    let seen = reader
        .until("the edit to be bundled", async |reader| {
            let event = reader.event(room, &said).await.map_err(|r| r.body)?;
            let bundled = &event["unsigned"]["m.relations"]["m.replace"]["event_id"];
            if *bundled == edit.as_str() {
                Ok(event)
            } else {
                Err(event.to_string())
            }
        })
        .await;
    assert_eq!(seen["content"]["body"], "quetzal: a thingo");
    let content =
        json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": "+"}});
    let reaction = reader.send(room, "m.reaction", content).await;
    writer
        .until("the reaction among the relations", async |writer| {
            let path = format!("/v1/rooms/{room}/relations/{said}/m.annotation");
            let page = writer.get(&path).await;
            let found = |event: &Value| event["event_id"] == reaction.as_str();
            let chunk = page["chunk"].as_array();
            let there = chunk.is_some_and(|chunk| chunk.iter().any(found));
            there.then_some(()).ok_or_else(|| page.to_string())
        })
        .await;
}

/// By the sender, from either side, and by a moderator; who is neither may not.
pub(super) async fn redactions_empty_on_both_sides(mut stage: Stage) {
    let room = stage.shared_room().await;
    let Stage { alice, bob, .. } = &mut stage;
    let by_alice = alice.send_text(&room, "quetzal: regretted by Alice").await;
    let by_bob = bob.send_text(&room, "quetzal: regretted by Bob").await;
    let by_bob_too = bob.send_text(&room, "quetzal: regretted by nobody").await;
    bob.wait_text(&room, "quetzal: regretted by Alice").await;
    alice.wait_text(&room, "quetzal: regretted by nobody").await;
    alice.redact(&room, &by_alice).await;
    bob.redact(&room, &by_bob).await;
    alice.redact(&room, &by_bob_too).await;
    for event in [&by_alice, &by_bob, &by_bob_too] {
        for user in [&mut *alice, &mut *bob] {
            user.until("the message without its content", async |user| {
                match user.event(&room, event).await {
                    Ok(seen) if seen["content"] == json!({}) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
        }
    }
}
