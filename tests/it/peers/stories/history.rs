//! What was said before: pages of it, and the place of a moment in it.

use futures_util::{StreamExt, stream};
use passeur_tests::{
    Homeserver,
    user::{User, escape},
};
use serde_json::{Value, json};

use super::stage::Stage;

/// How many messages are said before the guest comes.
const BEFORE: usize = 500;

/// How many requests a talkative user has under way.
const SENDS_AT_ONCE: usize = 8;

/// Says this many things as fast as the server takes them.
pub(super) async fn chatter(user: &User, room: &str, count: usize) {
    let sends = stream::iter(0..count).map(|number| async move {
        let path = format!("/v3/rooms/{}/send/m.room.message/c{number}", escape(room));
        let body = format!("quetzal: number {number}");
        user.put(&path, json!({"msgtype": "m.text", "body": body}))
            .await;
    });
    sends
        .buffer_unordered(SENDS_AT_ONCE)
        .collect::<Vec<()>>()
        .await;
}

/// The ids of the messages among the events.
fn messages(events: &[Value]) -> Vec<&str> {
    let messages = events
        .iter()
        .filter(|event| event["type"] == "m.room.message");
    messages
        .filter_map(|event| event["event_id"].as_str())
        .collect()
}

/// Waits until `reader` can page through the same messages as `writer`, who wrote at least `count`, each of them once. Where
/// several were said at a time, each server has an order of its own.
pub(super) async fn read_the_same(reader: &mut User, writer: &User, room: &str, count: usize) {
    let written = writer.history(room).await;
    let mut written = messages(&written);
    written.sort_unstable();
    assert!(written.len() >= count, "only {} written", written.len());
    reader
        .until("the whole history", async |reader| {
            let read = reader.history(room).await;
            let mut read = messages(&read);
            read.sort_unstable();
            if read == written {
                return Ok(());
            }
            let lacking = written.iter().filter(|id| !read.contains(id)).count();
            let (has, of) = (read.len(), written.len());
            Err(format!("{has} messages of {of}, {lacking} lacking"))
        })
        .await;
}

pub(super) async fn much_is_read_after_a_late_join(mut stage: Stage) {
    let room = stage.room(json!({"preset": "public_chat"})).await;
    chatter(&stage.alice, &room, BEFORE).await;
    stage.bob.join(&room, stage.host.server_name()).await;
    read_the_same(&mut stage.bob, &stage.alice, &room, BEFORE).await;
    stage.talk(&room).await;
    stage.agree(&room).await;
}

pub(super) async fn who_comes_late_finds_the_moment(mut stage: Stage) {
    let room = stage.room(json!({"preset": "public_chat"})).await;
    let said = stage.alice.send_text(&room, "quetzal: remember this").await;
    let event = stage.alice.event(&room, &said).await.expect("the message");
    let at = event["origin_server_ts"].as_u64().expect("a time");
    chatter(&stage.alice, &room, 30).await;
    stage.bob.join(&room, stage.host.server_name()).await;
    stage
        .bob
        .until("the moment", async |bob| {
            let path = format!(
                "/v1/rooms/{}/timestamp_to_event?ts={at}&dir=f",
                escape(&room)
            );
            let found = bob.request(reqwest::Method::GET, &path, None).await;
            match found {
                Ok(found) if found["event_id"] == json!(said) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
}
