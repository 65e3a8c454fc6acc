//! An expired message is a stub on every way of reading, and no way is forgotten here.

use std::collections::BTreeSet;

use super::*;

/// The tables of what reads rooms.
const TABLES: [&str; 2] = [
    include_str!("../../../router/reading.rs"),
    include_str!("../../../router/sync.rs"),
];

/// Handlers that tell nothing of a message's content: state, members, places in time, receipts and the like. The socket carries what
/// sync answers, made by the same code, and is not opened here.
const TELL_NO_MESSAGE: [&str; 15] = [
    "create_receipt_route",
    "create_typing_event_route",
    "get_event_by_timestamp_route",
    "get_hierarchy_route",
    "get_member_events_route",
    "get_mutual_rooms_route",
    "get_presence_route",
    "get_state_event_for_key_route",
    "get_state_events_route",
    "get_summary_route",
    "joined_members_route",
    "joined_rooms_route",
    "set_presence_route",
    "set_read_marker_route",
    "sync_socket_route",
];

/// A way of reading: its handler, path, and body if it is no GET.
type Way = (&'static str, String, Value);

/// Every way on which a message may be met: alone, among others, or bundled with the one that it answers.
fn ways(room: &str, root: &str, reply: &str, since: &str) -> Vec<Way> {
    let v1 = "/_matrix/client/v1/rooms";
    let get = |handler, path: String| (handler, path, Value::Null);
    let federation = filter(&json!({"event_format": "federation"}));
    let search = json!({"search_categories": {"room_events": {
        "search_term": "marker", "event_context": {"before_limit": 2, "after_limit": 2},
    }}});
    vec![
        get(
            "get_room_event_route",
            format!("/rooms/{room}/event/{root}"),
        ),
        get(
            "get_room_event_route",
            format!("/rooms/{room}/event/{reply}"),
        ),
        get("get_context_route", format!("/rooms/{room}/context/{root}")),
        get(
            "get_context_route",
            format!("/rooms/{room}/context/{reply}"),
        ),
        get(
            "get_message_events_route",
            format!("/rooms/{room}/messages?dir=b&limit=50"),
        ),
        get(
            "get_relating_events_route",
            format!("{v1}/{room}/relations/{root}"),
        ),
        get(
            "get_relating_events_with_rel_type_route",
            format!("{v1}/{room}/relations/{root}/m.thread"),
        ),
        get(
            "get_relating_events_with_event_type_route",
            format!("{v1}/{room}/relations/{root}/m.thread/m.room.message"),
        ),
        get("get_threads_route", format!("{v1}/{room}/threads")),
        ("search_events_route", "/search".to_owned(), search),
        get(
            "sync_events_route",
            format!("/sync?timeout=0&since={since}"),
        ),
        get(
            "sync_events_route",
            format!("/sync?timeout=0&since={since}{federation}"),
        ),
        // In a table of its own.
        get("get_notifications_route", "/notifications".to_owned()),
    ]
}

/// The handlers that a table names.
fn handlers(table: &str) -> BTreeSet<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = table.split(|c| !is_word(c));
    words.filter(|word| word.ends_with("_route")).collect()
}

#[test]
fn no_way_of_reading_is_forgotten() {
    let tried: BTreeSet<_> = ways("", "", "", "").iter().map(|way| way.0).collect();
    for table in TABLES {
        let found = handlers(table);
        assert!(!found.is_empty());
        for handler in found {
            assert!(
                tried.contains(handler) != TELL_NO_MESSAGE.contains(&handler),
                "{handler}: does an expired message stay hidden there?"
            );
        }
    }
}

#[tokio::test]
async fn an_expired_event_is_a_stub_on_every_way_of_reading() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = next(&server.sync(&alice, "", "").await);
    let policy = json!({"default_ms": 30_000, "max_ms": 300_000});
    let path = format!("/rooms/{room}/state/org.passeur.room.expiry/");
    expect_ok(server.put(&alice, &path, policy).await);
    let root = server.say(&bob, &room, "the marker of the root").await;
    let related = async |txn: &str, content: Value| {
        let path = format!("/rooms/{room}/send/m.room.message/{txn}");
        let sent = expect_ok(server.put(&bob, &path, content).await);
        sent["event_id"].as_str().unwrap().to_owned()
    };
    let thread = json!({"rel_type": "m.thread", "event_id": root});
    let content = json!({"msgtype": "m.text", "body": "a marker for alice", "m.relates_to": thread,
        "m.mentions": {"user_ids": [alice.id]}});
    let reply = related("reply", content).await;
    let replace = json!({"rel_type": "m.replace", "event_id": root});
    let content = json!({"msgtype": "m.text", "body": "* a marker", "m.relates_to": replace,
        "m.new_content": {"msgtype": "m.text", "body": "an edited marker"}});
    related("edit", content).await;
    let read = async |(_, path, body): &Way| {
        let answer = match body.is_null() {
            true => server.get(&alice, path).await,
            false => server.post(&alice, path, body.clone()).await,
        };
        expect_ok(answer).to_string()
    };
    let ways = ways(&room, &root, &reply, &since);
    for way in &ways {
        let text = read(way).await;
        assert!(text.contains("marker"), "{} {text}", way.1);
    }
    server.clock.advance(Duration::from_secs(31));
    for way in &ways {
        // The words that were searched for are told again.
        let text = read(way).await.replace(r#""highlights":["marker"]"#, "");
        assert!(!text.contains("marker"), "{} {text}", way.1);
    }
    // What was there is still told of, as a stub.
    for way in [&ways[0], &ways[2], &ways[4], &ways[10]] {
        assert!(read(way).await.contains("redacted_because"), "{}", way.1);
    }
}
