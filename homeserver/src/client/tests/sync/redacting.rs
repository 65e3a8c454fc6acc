//! Redacting: by which endpoints, and what one may redact.

use super::*;

#[tokio::test]
async fn a_redaction_sent_as_an_event_is_one_in_every_version() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    for version in ["10", "11", "12"] {
        let room = server.room(&alice, json!({"room_version": version})).await;
        let id = server.say(&alice, &room, "gone").await;
        let content = json!({"redacts": id, "reason": "mistake"});
        let path = format!("/rooms/{room}/send/m.room.redaction/txn{version}");
        expect_ok(server.put(&alice, &path, content).await);
        let path = format!("/rooms/{room}/event/{id}");
        let event = expect_ok(server.get(&alice, &path).await);
        assert_eq!(event["content"], json!({}), "version {version}");
        let because = &event["unsigned"]["redacted_because"];
        assert_eq!(because["redacts"], id, "version {version}");
        assert_eq!(because["content"]["reason"], "mistake");
    }
}

#[tokio::test]
async fn a_redaction_sent_as_an_event_must_name_its_target() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let path = format!("/rooms/{room}/send/m.room.redaction/");
    for (number, content) in [json!({}), json!({"redacts": 7})].into_iter().enumerate() {
        let answer = server
            .put(&alice, &format!("{path}{number}"), content)
            .await;
        expect(&answer, 400, "M_BAD_JSON");
    }
    let unknown = json!({"redacts": "$unknown"});
    let answer = server.put(&alice, &format!("{path}unknown"), unknown).await;
    expect(&answer, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn without_the_level_one_redacts_what_is_ones_own() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let (hers, his) = (
        server.say(&alice, &room, "hers").await,
        server.say(&bob, &room, "his").await,
    );
    let redact = |id: &str, txn: &str| format!("/rooms/{room}/redact/{id}/{txn}");
    let answer = server.put(&bob, &redact(&hers, "1"), json!({})).await;
    expect(&answer, 403, "M_FORBIDDEN");
    let by_event = format!("/rooms/{room}/send/m.room.redaction/2");
    let answer = server.put(&bob, &by_event, json!({"redacts": hers})).await;
    expect(&answer, 403, "M_FORBIDDEN");
    expect_ok(server.put(&bob, &redact(&his, "3"), json!({})).await);
    let body = |event: Value| event["content"]["body"].clone();
    let event = |id: &str| format!("/rooms/{room}/event/{id}");
    assert_eq!(
        body(expect_ok(server.get(&bob, &event(&hers)).await)),
        "hers"
    );
    assert_eq!(
        body(expect_ok(server.get(&bob, &event(&his)).await)),
        Value::Null
    );

    // The attack works for whoever has the level: it is the level that keeps others from it.
    let other = server.say(&bob, &room, "his other").await;
    expect_ok(server.put(&alice, &redact(&other, "4"), json!({})).await);
    assert_eq!(
        body(expect_ok(server.get(&bob, &event(&other)).await)),
        Value::Null
    );
}
