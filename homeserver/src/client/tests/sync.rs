//! Stories of sync: what a client is told, once, and what is never lost.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Server, User, expect, expect_ok};

mod busy;
mod counts;
mod expired;
mod filtered;
mod full_disk;
mod gone;
mod held;
mod heroes;
mod idle;
mod odd;
mod people;
mod reading;
mod redacting;
mod rooms;
mod socket;
mod socket_ends;

impl Server {
    /// A room that anybody may join, made by a user.
    pub(super) async fn room(&self, creator: &User, extra: Value) -> String {
        // Rooms of version 12 are named after their first event: two of the same moment would be one.
        self.clock.advance(Duration::from_millis(1));
        let mut body = json!({"preset": "public_chat"});
        for (key, value) in extra.as_object().cloned().unwrap_or_default() {
            body[key] = value;
        }
        let answer = expect_ok(self.post(creator, "/createRoom", body).await);
        answer["room_id"].as_str().unwrap().to_owned()
    }

    pub(super) async fn join(&self, user: &User, room: &str) {
        expect_ok(
            self.post(user, &format!("/rooms/{room}/join"), json!({}))
                .await,
        );
    }

    /// Sends a text and answers with the event's id.
    pub(super) async fn say(&self, user: &User, room: &str, text: &str) -> String {
        let content = json!({"msgtype": "m.text", "body": text});
        let txn_id = text.replace(' ', "_");
        let path = format!("/rooms/{room}/send/m.room.message/{txn_id}");
        let answer = expect_ok(self.put(user, &path, content).await);
        answer["event_id"].as_str().unwrap().to_owned()
    }

    /// One sync that does not wait; `query` begins with `&` or is empty.
    pub(super) async fn sync(&self, user: &User, since: &str, query: &str) -> Value {
        let since = if since.is_empty() {
            String::new()
        } else {
            format!("&since={since}")
        };
        expect_ok(
            self.get(user, &format!("/sync?timeout=0{since}{query}"))
                .await,
        )
    }
}

/// A filter as it stands in a query.
pub(super) fn filter(definition: &Value) -> String {
    let text = definition.to_string();
    let encoded: String = text
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("&filter={encoded}")
}

pub(super) fn next(answer: &Value) -> String {
    answer["next_batch"].as_str().unwrap().to_owned()
}

/// The bodies of the messages among events.
fn bodies(events: &Value) -> Vec<String> {
    let events = events.as_array().cloned().unwrap_or_default();
    let messages = events
        .iter()
        .filter(|event| event["type"] == "m.room.message");
    messages
        .map(|event| event["content"]["body"].as_str().unwrap_or("-").to_owned())
        .collect()
}

/// Types and state keys of events.
pub(super) fn places(events: &Value) -> Vec<(String, String)> {
    let events = events.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut places: Vec<_> = events
        .iter()
        .map(|event| (text(&event["type"]), text(&event["state_key"])))
        .collect();
    places.sort();
    places
}

/// Lets a long poll get as far as waiting.
async fn settle(server: &Server, sleepers: usize) {
    server.clock.wait_for_sleepers(sleepers).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_long_poll_wakes_for_an_event_and_ends_by_its_timeout() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = next(&server.sync(&bob, "", "").await);
    let before = server.clock.sleepers();
    let path = format!("/sync?timeout=30000&since={since}");
    let (answer, ()) = tokio::join!(server.get(&bob, &path), async {
        settle(&server, before + 1).await;
        server.say(&alice, &room, "hello").await;
    });
    let answer = expect_ok(answer);
    assert_eq!(
        bodies(&answer["rooms"]["join"][&room]["timeline"]["events"]),
        ["hello"]
    );

    let path = format!("/sync?timeout=30000&since={}", next(&answer));
    let before = server.clock.sleepers();
    let (answer, ()) = tokio::join!(server.get(&bob, &path), async {
        settle(&server, before + 1).await;
        server.clock.advance(Duration::from_secs(30));
    });
    assert!(expect_ok(answer).get("rooms").is_none());
}

#[tokio::test]
async fn a_long_poll_ends_with_its_session() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let since = next(&server.sync(&alice, "", "").await);
    let path = format!("/sync?timeout=30000&since={since}");
    let before = server.clock.sleepers();
    let (answer, ()) = tokio::join!(server.get(&alice, &path), async {
        settle(&server, before + 1).await;
        expect_ok(server.post(&alice, "/logout", Value::Null).await);
    });
    // The device that went is news of its own, and may come first: then the next one is refused.
    let answer = match answer.0 {
        200 => server.get(&alice, &path).await,
        _ => answer,
    };
    expect(&answer, 401, "M_UNKNOWN_TOKEN");
}

#[tokio::test]
async fn bad_tokens_and_filters_are_refused() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    server.room(&alice, json!({})).await;
    for token in [
        "x",
        "s",
        "s1_2_3_4",
        "s999999_0_0",
        "s-1_0_0",
        "o5",
        "s1_2_0",
    ] {
        let answer = server.get(&alice, &format!("/sync?since={token}")).await;
        expect(&answer, 400, "M_INVALID_PARAM");
    }
    let long: Vec<String> = (0..2000).map(|n| n.to_string()).collect();
    for definition in [
        json!({"room": {"timeline": {"types": long}}}),
        json!({"room": {"timeline": {"limit": "many"}}}),
        json!({"room": 7}),
    ] {
        let answer = server
            .get(&alice, &format!("/sync?a=b{}", filter(&definition)))
            .await;
        assert_eq!(answer.0, 400, "{}", answer.1);
    }
    let answer = server.get(&alice, "/sync?filter=%7B%22room%22").await;
    assert_eq!(answer.0, 400, "{}", answer.1);
    expect(
        &server.get(&alice, "/sync?filter=17").await,
        400,
        "M_INVALID_PARAM",
    );
}

#[tokio::test]
async fn a_restart_loses_nothing_and_repeats_nothing() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    server.say(&alice, &room, "one").await;
    let since = next(&server.sync(&bob, "", "").await);
    server.say(&alice, &room, "two").await;
    let server = server.restart().await;
    let answer = server.sync(&bob, &since, "").await;
    assert_eq!(
        bodies(&answer["rooms"]["join"][&room]["timeline"]["events"]),
        ["two"]
    );
    let answer = server.sync(&bob, &next(&answer), "").await;
    assert!(answer.get("rooms").is_none(), "{answer}");
}
