//! What expires with us and not with Synapse: it is sent redactions, as long as there is somebody to send them.

use passeur_tests::{Homeserver, user::User};
use serde_json::{Value, json};

use super::stage::{Software, Stage};

/// Of the two, whose server destroys what expires, and the other.
fn sides(stage: &mut Stage) -> (&mut User, &mut User) {
    match stage.host.software {
        Software::Passeur => (&mut stage.alice, &mut stage.bob),
        Software::Synapse => (&mut stage.bob, &mut stage.alice),
    }
}

/// A message that lives for `ttl_ms`; for ever, if that is null.
async fn say(user: &mut User, room: &str, body: &str, ttl_ms: Value) -> String {
    let mut content = json!({"msgtype": "m.text", "body": body});
    if !ttl_ms.is_null() {
        content["org.passeur.expiry"] = json!({ "ttl_ms": ttl_ms });
    }
    user.send(room, "m.room.message", content).await
}

/// Waits until a user's server has nothing left of a message but who redacted it: its sender.
async fn until_redacted(user: &mut User, room: &str, event: &str) {
    user.until("the message without its content", async |user| {
        match user.event(room, event).await {
            Ok(seen) if seen["content"] == json!({}) => {
                let because = &seen["unsigned"]["redacted_because"];
                assert_eq!(because["sender"], seen["sender"], "{seen}");
                Ok(())
            }
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// At the deadline; what lives for ever stays.
pub(super) async fn what_expires_is_redacted_on_the_other_side(mut stage: Stage) {
    let room = stage.shared_room().await;
    let (ours, theirs) = sides(&mut stage);
    let lasting = say(ours, &room, "quetzal: this stays", Value::Null).await;
    let short = say(ours, &room, "quetzal: this goes", json!(30_000)).await;
    let seen = theirs.wait_text(&room, "quetzal: this goes").await;
    assert_eq!(seen["event_id"], json!(short));
    until_redacted(theirs, &room, &short).await;
    let seen = theirs.event(&room, &lasting).await.expect("it is held");
    assert_eq!(seen["content"]["body"], "quetzal: this stays");
}

/// Long before the deadline, because nobody could redact it then.
pub(super) async fn whoever_leaves_redacts_first_what_would_expire(mut stage: Stage) {
    let room = stage.shared_room().await;
    let (ours, theirs) = sides(&mut stage);
    let lasting = say(ours, &room, "quetzal: this stays", Value::Null).await;
    let day = say(ours, &room, "quetzal: a day", json!(86_400_000)).await;
    theirs.wait_text(&room, "quetzal: a day").await;
    ours.leave(&room).await;
    theirs.until_member(&room, &ours.id, "leave").await;
    until_redacted(theirs, &room, &day).await;
    let seen = theirs.event(&room, &lasting).await.expect("it is held");
    assert_eq!(seen["content"]["body"], "quetzal: this stays");
}

/// Synapse keeps what the banned one said; what somebody else says later is redacted.
pub(super) async fn whoever_was_banned_redacts_nothing_more(mut stage: Stage) {
    let room = stage.shared_room().await;
    let mut carol = stage.guest.person("carol").await;
    carol.join(&room, stage.host.server_name()).await;
    let Stage { alice, bob, .. } = &mut stage;
    let banned = say(bob, &room, "quetzal: of the banned", json!(30_000)).await;
    alice.wait_text(&room, "quetzal: of the banned").await;
    alice.moderate(&room, "ban", &bob.id).await;
    carol.until_member(&room, &bob.id, "ban").await;
    let later = say(&mut carol, &room, "quetzal: later", json!(30_000)).await;
    alice.wait_text(&room, "quetzal: later").await;
    until_redacted(alice, &room, &later).await;
    let seen = alice.event(&room, &banned).await.expect("it is held");
    assert_eq!(seen["content"]["body"], "quetzal: of the banned");
}
