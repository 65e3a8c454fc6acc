//! Our SDK and our bots on our server.

use passeur_sdk::{Event, Room};
use passeur_tests::user::{User, WAIT_MAX};
use serde_json::json;

mod alert_bot;
mod dehydrated;
mod expiry;
mod identity;
mod pinned;
mod socket;

/// Makes an encrypted room that anyone may join.
async fn encrypted_room(user: &User) -> String {
    let encryption = json!({
        "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    });
    user.create_room(json!({"preset": "public_chat", "initial_state": [encryption]}))
        .await
}

/// One says something and the other reads it.
async fn say(from: &Room, to: &Room, text: &str) -> Event {
    let mut timeline = to.timeline();
    let sending = from.send_text(text).await.unwrap();
    sending
        .event_id(WAIT_MAX)
        .await
        .expect("the server's answer");
    let event = timeline.wait_for_text(WAIT_MAX, text).await;
    event.unwrap_or_else(|| panic!("{text} did not come"))
}
