//! What people say, change, and send to each other.

use passeur_sdk::{Protection, Room, SendOptions, Target};
use passeur_tests::{foreign::ForeignClient, user::WAIT_MAX};
use ruma::{OwnedEventId, events::room::EncryptedFile};
use serde_json::json;

use super::stage::{Stage, hear, say};

/// Each says something twice, so that both the first message of a session and a later one are read.
pub(in super::super) async fn exchange(alice: &mut ForeignClient, bob: &Room) {
    let bob_id = bob.client().user_id().expect("a session");
    let mut timeline = bob.timeline();
    for number in 1..=2 {
        let text = format!("quetzal: the other says {number}");
        let sent = alice.send_text(bob.id().as_str(), &text).await;
        let event = hear(&mut timeline, &sent).await;
        assert_eq!(event.body(), Some(text.as_str()));
        assert_eq!(event.sender, alice.user_id.as_str());
        let text = format!("quetzal: the SDK says {number}");
        let sent = say(bob, &text).await;
        let read = alice.read(bob.id().as_str(), &sent).await;
        assert_eq!(read.content["body"], text);
        assert_eq!(read.sender, bob_id);
    }
}

pub(super) async fn each_reads_the_other(stage: Stage) {
    let mut meeting = stage.meeting().await;
    exchange(&mut meeting.other, &meeting.room).await;
}

pub(super) async fn edits_and_reactions_arrive(stage: Stage) {
    let mut meeting = stage.meeting().await;
    let mut timeline = meeting.room.timeline();
    let first = meeting.they_say("quetzal: they say").await.event_id;
    let edit = json!({
        "msgtype": "m.text", "body": "* quetzal: they mean",
        "m.new_content": {"msgtype": "m.text", "body": "quetzal: they mean"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": first},
    });
    let (room, other) = (&meeting.room_id, &mut meeting.other);
    let sent = other.send(room, "m.room.message", edit).await;
    let event = hear(&mut timeline, &sent).await;
    assert_eq!(
        event.replacement(),
        Some((first.as_str(), "quetzal: they mean"))
    );
    let reaction =
        json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "👍"}});
    let sent = other.send(room, "m.reaction", reaction).await;
    // Most libraries leave reactions in the clear, where servers can count them.
    let event = timeline.wait_for(WAIT_MAX, |event| {
        let read = !matches!(event.protection, Protection::Undecryptable(_));
        (event.event_id == sent && read).then(|| event.clone())
    });
    let event = event.await.expect("their reaction");
    assert_eq!(event.reaction(), Some((first.as_str(), "👍")));

    let said = meeting.we_say("quetzal: we say").await;
    let target = || Target::Event(OwnedEventId::try_from(said.as_str()).expect("an event id"));
    let (room, other) = (&meeting.room_id, &mut meeting.other);
    let edit = meeting.room.edit(target(), "quetzal: we mean").await;
    let edit = edit.expect("a place in the queue").event_id(WAIT_MAX).await;
    let read = other.read(room, edit.expect("an id").as_str()).await;
    let relation = &read.content["m.relates_to"];
    assert_eq!(read.content["m.new_content"]["body"], "quetzal: we mean");
    assert_eq!(
        (&relation["rel_type"], &relation["event_id"]),
        (&json!("m.replace"), &json!(said))
    );
    let reaction = meeting.room.react(target(), "🎉").await;
    let reaction = reaction.expect("a place in the queue");
    let reaction = reaction.event_id(WAIT_MAX).await.expect("an id");
    let read = other.read(room, reaction.as_str()).await;
    assert_eq!(read.event_type, "m.reaction");
    let relation = &read.content["m.relates_to"];
    assert_eq!(
        (&relation["key"], &relation["event_id"]),
        (&json!("🎉"), &json!(said))
    );
}

pub(super) async fn files_are_opened(stage: Stage) {
    let mut meeting = stage.meeting().await;
    let mut timeline = meeting.room.timeline();
    let (room, other) = (&meeting.room_id, &mut meeting.other);
    let sent = other.upload(room, "theirs.txt", "quetzal: theirs").await;
    let event = hear(&mut timeline, &sent).await;
    assert_eq!(event.body(), Some("theirs.txt"));
    let file = event.content.get("file").cloned().expect("a file");
    let file: EncryptedFile = serde_json::from_value(file).expect("an encrypted file");
    let opened = meeting.sdk.client.download_encrypted(&file).await;
    assert_eq!(opened.expect("their file"), b"quetzal: theirs");

    let ours = b"quetzal: ours".to_vec();
    let sending = meeting
        .room
        .send_file("ours.txt", "text/plain", ours, SendOptions::default());
    let sent = sending.await.expect("a file").event_id(WAIT_MAX).await;
    let opened = other.download(room, sent.expect("an id").as_str()).await;
    assert_eq!(opened, "quetzal: ours");
}
