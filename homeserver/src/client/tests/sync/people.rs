//! What sync tells of people: receipts, typing, unread counts, messages to devices, device lists.

use super::*;

fn receipt_path(room: &str, kind: &str, event: &str) -> String {
    format!("/rooms/{room}/receipt/{kind}/{event}")
}

#[tokio::test]
async fn counts_follow_push_rules_and_receipts() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = next(&server.sync(&bob, "", "").await);
    server.say(&bob, &room, "mine").await;
    let first = server.say(&alice, &room, "one").await;
    let mention = json!({"msgtype": "m.text", "body": "you", "m.mentions": {"user_ids": [bob.id]}});
    let path = format!("/rooms/{room}/send/m.room.message/mention");
    expect_ok(server.put(&alice, &path, mention).await);
    let answer = server.sync(&bob, &since, "").await;
    let unread = |answer: &Value| answer["rooms"]["join"][&room]["unread_notifications"].clone();
    let counts = |notifications: u64, highlights: u64| json!({"notification_count": notifications, "highlight_count": highlights});
    assert_eq!(unread(&answer), counts(2, 1));
    expect_ok(
        server
            .post(&bob, &receipt_path(&room, "m.read", &first), json!({}))
            .await,
    );
    let answer = server.sync(&bob, &next(&answer), "").await;
    assert_eq!(unread(&answer), counts(1, 1));
    server.say(&alice, &room, "two").await;
    let answer = server.sync(&bob, &next(&answer), "").await;
    assert_eq!(unread(&answer), counts(2, 1));
    let server = server.restart().await;
    let answer = server.sync(&bob, "", "").await;
    assert_eq!(unread(&answer), counts(2, 1));
    assert_eq!(unread(&server.sync(&alice, "", "").await), counts(0, 0));
}

#[tokio::test]
async fn receipts_are_told_to_all_and_private_ones_to_their_user() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let first = server.say(&alice, &room, "one").await;
    let second = server.say(&alice, &room, "two").await;
    let (a, b) = (
        next(&server.sync(&alice, "", "").await),
        next(&server.sync(&bob, "", "").await),
    );
    expect_ok(
        server
            .post(&bob, &receipt_path(&room, "m.read", &first), json!({}))
            .await,
    );
    let private = receipt_path(&room, "m.read.private", &second);
    expect_ok(server.post(&bob, &private, json!({})).await);
    let ephemeral = |answer: &Value| answer["rooms"]["join"][&room]["ephemeral"]["events"].clone();
    let hers = server.sync(&alice, &a, "").await;
    let told = ephemeral(&hers);
    assert!(told[0]["content"][&first]["m.read"].get(&bob.id).is_some());
    assert!(told[0]["content"].get(&second).is_none(), "{told}");
    let his = server.sync(&bob, &b, "").await;
    let told = ephemeral(&his);
    assert!(
        told[0]["content"][&second]["m.read.private"]
            .get(&bob.id)
            .is_some(),
        "{told}"
    );
    // Backwards is no news.
    expect_ok(
        server
            .post(&bob, &receipt_path(&room, "m.read", &first), json!({}))
            .await,
    );
    assert!(
        server
            .sync(&alice, &next(&hers), "")
            .await
            .get("rooms")
            .is_none()
    );
    let initial = server.sync(&alice, "", "").await;
    assert!(ephemeral(&initial)[0]["content"].get(&first).is_some());

    let marker = json!({"m.fully_read": second});
    expect_ok(
        server
            .post(&bob, &format!("/rooms/{room}/read_markers"), marker)
            .await,
    );
    let answer = server.sync(&bob, &next(&his), "").await;
    let data = &answer["rooms"]["join"][&room]["account_data"]["events"];
    assert_eq!(
        *data,
        json!([{"type": "m.fully_read", "content": {"event_id": second}}])
    );
    let unknown = server
        .post(&bob, &receipt_path(&room, "m.read", "$unknown"), json!({}))
        .await;
    expect(&unknown, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn typing_is_told_and_ends() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = next(&server.sync(&alice, "", "").await);
    let path = format!("/rooms/{room}/typing/{}", bob.id);
    expect_ok(
        server
            .put(&bob, &path, json!({"typing": true, "timeout": 5000}))
            .await,
    );
    let answer = server.sync(&alice, &since, "").await;
    let events = |answer: &Value| answer["rooms"]["join"][&room]["ephemeral"]["events"].clone();
    let typing = |users: &[&str]| json!([{"type": "m.typing", "content": {"user_ids": users}}]);
    assert_eq!(events(&answer), typing(&[&bob.id]));
    let since = next(&answer);
    assert!(server.sync(&alice, &since, "").await.get("rooms").is_none());
    let before = server.clock.sleepers();
    let poll = format!("/sync?timeout=30000&since={since}");
    let (answer, ()) = tokio::join!(server.get(&alice, &poll), async {
        settle(&server, before + 1).await;
        server.clock.advance(Duration::from_secs(5));
    });
    assert_eq!(events(&expect_ok(answer)), typing(&[]));
    let forbidden = server
        .put(&alice, &path, json!({"typing": true, "timeout": 5000}))
        .await;
    expect(&forbidden, 403, "M_FORBIDDEN");
    let carol = server.register("carol").await;
    let path = format!("/rooms/{room}/typing/{}", carol.id);
    expect(
        &server.put(&carol, &path, json!({"typing": false})).await,
        403,
        "M_FORBIDDEN",
    );
}

#[tokio::test]
async fn a_message_to_a_device_comes_once_and_survives_a_lost_answer() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let since = next(&server.sync(&bob, "", "").await);
    let content = json!({"messages": {&bob.id: {&bob.device: {"hello": 1}}}});
    let path = "/sendToDevice/org.example.hello/txn1";
    expect_ok(server.put(&alice, path, content.clone()).await);
    expect_ok(server.put(&alice, path, content).await);
    let lost = server.sync(&bob, &since, "").await;
    let expected = json!([
        {"type": "org.example.hello", "sender": alice.id, "content": {"hello": 1}},
    ]);
    assert_eq!(lost["to_device"]["events"], expected);
    let server = server.restart().await;
    let again = server.sync(&bob, &since, "").await;
    assert_eq!(
        again["to_device"]["events"], expected,
        "the first answer was lost"
    );
    let after = server.sync(&bob, &next(&again), "").await;
    assert!(after.get("to_device").is_none());
    // The token that was presented has deleted it: even an older one brings it back no more.
    let older = server.sync(&bob, &since, "").await;
    assert!(older.get("to_device").is_none());
}

#[tokio::test]
async fn many_messages_come_in_order_over_several_answers() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let mut since = next(&server.sync(&bob, "", "").await);
    for number in 0..130 {
        let content = json!({"messages": {&bob.id: {"*": {"number": number}}}});
        let path = format!("/sendToDevice/org.example.n/{number}");
        expect_ok(server.put(&alice, &path, content).await);
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        let answer = server.sync(&bob, &since, "").await;
        let events = answer["to_device"]["events"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        seen.extend(
            events
                .iter()
                .map(|event| event["content"]["number"].as_u64().unwrap()),
        );
        since = next(&answer);
    }
    assert_eq!(seen, (0..130).collect::<Vec<u64>>());
}

#[tokio::test]
async fn device_lists_name_those_who_come_and_go() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let encryption = json!([{
        "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }]);
    let room = server
        .room(&alice, json!({"initial_state": encryption}))
        .await;
    let since = next(&server.sync(&alice, "", "").await);
    server.join(&bob, &room).await;
    let answer = server.sync(&alice, &since, "").await;
    assert_eq!(answer["device_lists"]["changed"], json!([bob.id]));
    let since = next(&answer);
    server.login("bob").await;
    let keys = json!({"device_keys": {
        "user_id": bob.id, "device_id": bob.device, "algorithms": [],
        "keys": {format!("ed25519:{}", bob.device): "a".repeat(43)}, "signatures": {},
    }});
    let uploaded = server.post(&bob, "/keys/upload", keys).await;
    let answer = server.sync(&alice, &since, "").await;
    if uploaded.0 == 200 {
        assert_eq!(
            answer["device_lists"]["changed"],
            json!([bob.id]),
            "{answer}"
        );
    }
    expect_ok(
        server
            .post(&bob, &format!("/rooms/{room}/leave"), json!({}))
            .await,
    );
    let answer = server.sync(&alice, &next(&answer), "").await;
    assert_eq!(answer["device_lists"]["left"], json!([bob.id]), "{answer}");
}

#[tokio::test]
async fn presence_is_told_to_those_who_share_a_room_if_it_is_on() {
    for is_on in [true, false] {
        let server = Server::with(|config| config.presence.enabled = is_on).await;
        let (alice, bob) = (server.register("alice").await, server.register("bob").await);
        let carol = server.register("carol").await;
        let room = server.room(&alice, json!({})).await;
        server.join(&bob, &room).await;
        let quiet = "&set_presence=offline";
        let since = next(&server.sync(&bob, "", quiet).await);
        let hers = next(&server.sync(&carol, "", quiet).await);
        let path = format!("/presence/{}/status", alice.id);
        let body = json!({"presence": "unavailable", "status_msg": "at lunch"});
        expect_ok(server.put(&alice, &path, body.clone()).await);
        expect(&server.put(&bob, &path, body).await, 403, "M_FORBIDDEN");
        let seen = expect_ok(server.get(&bob, &path).await);
        let answer = server.sync(&bob, &since, quiet).await;
        let stranger = server.sync(&carol, &hers, quiet).await;
        assert!(stranger.get("presence").is_none(), "{stranger}");
        expect(&server.get(&carol, &path).await, 403, "M_FORBIDDEN");
        if is_on {
            assert_eq!(seen["presence"], "unavailable");
            assert_eq!(seen["status_msg"], "at lunch");
            let event = &answer["presence"]["events"][0];
            assert_eq!(
                (&event["type"], &event["sender"]),
                (&json!("m.presence"), &json!(alice.id))
            );
            assert_eq!(event["content"]["presence"], "unavailable");
            // Syncing makes one appear; nothing is told twice.
            server.sync(&alice, "", "").await;
            let answer = server.sync(&bob, &next(&answer), quiet).await;
            assert_eq!(
                answer["presence"]["events"][0]["content"]["presence"],
                "online"
            );
            let answer = server.sync(&bob, &next(&answer), quiet).await;
            assert!(answer.get("presence").is_none());
        } else {
            assert_eq!(seen, json!({"presence": "offline"}));
            assert!(answer.get("presence").is_none());
        }
    }
}

#[tokio::test]
async fn who_joins_is_told_of_those_who_are_there() {
    let server = Server::with(|config| config.presence.enabled = true).await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.sync(&alice, "", "").await;
    let quiet = "&set_presence=offline";
    let since = next(&server.sync(&bob, "", quiet).await);
    let answer = server.sync(&bob, &since, quiet).await;
    assert!(answer.get("presence").is_none());
    server.join(&bob, &room).await;
    let answer = server.sync(&bob, &next(&answer), quiet).await;
    let event = &answer["presence"]["events"][0];
    assert_eq!(
        (&event["sender"], &event["content"]["presence"]),
        (&json!(alice.id), &json!("online"))
    );
}
