//! An expired message is a stub to other servers too, on every way of asking for it, and no way is forgotten here.

use std::{collections::BTreeSet, time::Duration};

use super::*;

/// The table of what other servers may ask.
const TABLE: &str = include_str!("../../../router/federation.rs");

/// Where the questions about rooms stand in the table.
const ROOMS: [&str; 2] = [
    "fn rooms() -> Router<App> {",
    "fn discovery() -> Router<App> {",
];

/// Questions whose answers hold no message: state, what allows it, ids, times.
const TELL_NO_MESSAGE: [&str; 5] = [
    "get_event_authorization",
    "get_event_by_timestamp",
    "get_hierarchy",
    "get_room_state",
    "get_room_state_ids",
];

/// A way of asking: its handler, method, path and body.
type Way = (&'static str, &'static str, String, Value);

/// Every way on which the message `id` is told, `later` being one after it.
fn ways(room: &str, id: &str, later: &str) -> Vec<Way> {
    let v1 = "/_matrix/federation/v1";
    let missing =
        json!({"earliest_events": [], "latest_events": [later], "limit": 10, "min_depth": 0});
    vec![
        ("get_event", "GET", format!("{v1}/event/{id}"), Value::Null),
        (
            "get_backfill",
            "GET",
            format!("{v1}/backfill/{room}?v={later}&limit=10"),
            Value::Null,
        ),
        (
            "get_missing_events",
            "POST",
            format!("{v1}/get_missing_events/{room}"),
            missing,
        ),
    ]
}

#[test]
fn no_way_of_asking_is_forgotten() {
    let table = TABLE.split(ROOMS[0]).nth(1).unwrap();
    let table = table.split(ROOMS[1]).next().unwrap();
    let words = table.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let found: BTreeSet<_> = words.filter(|word| word.starts_with("get_")).collect();
    let tried: BTreeSet<_> = ways("", "", "").iter().map(|way| way.0).collect();
    let known: BTreeSet<_> = tried.iter().copied().chain(TELL_NO_MESSAGE).collect();
    assert_eq!(found, known);
}

#[tokio::test]
async fn an_expired_event_is_a_stub_on_every_way_of_asking() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let send = async |kind: &str, state_key: Option<&str>, content: Value| {
        let draft = Draft {
            room_id: room.clone(),
            sender: alice().to_owned(),
            kind: kind.into(),
            state_key: state_key.map(str::to_owned),
            content: serde_json::value::to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        world.app.rooms.send(draft).await.unwrap()
    };
    let visibility = json!({"history_visibility": "world_readable"});
    send("m.room.history_visibility", Some(""), visibility).await;
    let policy = json!({"default_ms": 30_000, "max_ms": 300_000});
    send("org.passeur.room.expiry", Some(""), policy).await;
    let id = send(
        "m.room.message",
        None,
        json!({"msgtype": "m.text", "body": "marker"}),
    )
    .await;
    let later = send("m.room.topic", Some(""), json!({"topic": "later"})).await;
    let ways = ways(room.as_str(), id.as_str(), later.as_str());
    let ask = async |(_, method, path, body): &Way| {
        let (status, answer) = world.ask(method, path, body.clone()).await;
        assert_eq!(status, 200, "{path} {answer}");
        answer.to_string()
    };
    for way in &ways {
        let text = ask(way).await;
        assert!(text.contains("marker"), "{} {text}", way.2);
    }
    world.clock.advance(Duration::from_secs(31));
    for way in &ways {
        let text = ask(way).await;
        // The skeleton is told: the graph is whole.
        assert!(text.contains("m.room.message"), "{} {text}", way.2);
        assert!(!text.contains("marker"), "{} {text}", way.2);
    }
}
