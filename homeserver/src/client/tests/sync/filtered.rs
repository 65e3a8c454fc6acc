//! What a filter hides from the timeline is neither lost nor counted as cut off.

use super::*;

#[tokio::test]
async fn state_that_the_timeline_hides_is_told_as_state() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let only = filter(&json!({"room": {"timeline": {"types": ["m.room.message"]}}}));
    let topic = |answer: &Value| {
        let state = &answer["rooms"]["join"][&room]["state"]["events"];
        let events = state.as_array().cloned().unwrap_or_default();
        let topics = events
            .iter()
            .filter(|event| event["type"] == "m.room.topic");
        topics
            .map(|event| event["content"]["topic"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let path = format!("/rooms/{room}/state/m.room.topic/");
    server.say(&alice, &room, "one").await;
    expect_ok(server.put(&alice, &path, json!({"topic": "A"})).await);
    server.say(&alice, &room, "two").await;
    let first = server.sync(&alice, "", &only).await;
    let timeline = &first["rooms"]["join"][&room]["timeline"];
    assert_eq!(bodies(&timeline["events"]), ["one", "two"]);
    assert_eq!(timeline["limited"], false, "nothing was cut off");
    assert_eq!(topic(&first), ["A"]);

    server.say(&alice, &room, "three").await;
    expect_ok(server.put(&alice, &path, json!({"topic": "B"})).await);
    server.say(&alice, &room, "four").await;
    let second = server.sync(&alice, &next(&first), &only).await;
    assert_eq!(topic(&second), ["B"]);
    // Without the filter the timeline says it, and the state does not say it again.
    let plain = server.sync(&alice, &next(&first), "").await;
    assert!(topic(&plain).is_empty());
}

#[tokio::test]
async fn redacted_state_says_by_what() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let path = format!("/rooms/{room}/state/m.room.topic/");
    let set = expect_ok(server.put(&alice, &path, json!({"topic": "A"})).await);
    let id = set["event_id"].as_str().unwrap();
    let redact = format!("/rooms/{room}/redact/{id}/1");
    let redaction = expect_ok(server.put(&alice, &redact, json!({})).await);
    server.say(&alice, &room, "one").await;
    let short = filter(&json!({"room": {"timeline": {"limit": 1}}}));
    let answer = server.sync(&alice, "", &short).await;
    let state = &answer["rooms"]["join"][&room]["state"]["events"];
    let mut topics = state.as_array().unwrap().iter();
    let topic = topics.find(|event| event["event_id"] == id).unwrap();
    let because = &topic["unsigned"]["redacted_because"];
    assert_eq!(because["event_id"], redaction["event_id"]);
}
