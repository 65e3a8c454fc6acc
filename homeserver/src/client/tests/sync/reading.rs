//! Reading rooms: history, context, relations, state and members, and who may.

use super::*;

#[tokio::test]
async fn context_surrounds_an_event() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let mut ids = Vec::new();
    for number in 0..9 {
        ids.push(server.say(&alice, &room, &format!("m{number}")).await);
    }
    let path = format!("/rooms/{room}/context/{}?limit=4", ids[4]);
    let context = expect_ok(server.get(&alice, &path).await);
    assert_eq!(context["event"]["event_id"], ids[4]);
    assert_eq!(context["event"]["room_id"], room);
    assert_eq!(bodies(&context["events_before"]), ["m3", "m2"]);
    assert_eq!(bodies(&context["events_after"]), ["m5", "m6"]);
    assert!(!context["state"].as_array().unwrap().is_empty());
    for (end, direction, expected) in [("start", "b", ["m1", "m0"]), ("end", "f", ["m7", "m8"])] {
        let from = context[end].as_str().unwrap();
        let path = format!("/rooms/{room}/messages?dir={direction}&limit=2&from={from}");
        assert_eq!(
            bodies(&expect_ok(server.get(&alice, &path).await)["chunk"]),
            expected
        );
    }
    let unknown = format!("/rooms/{room}/context/$unknown");
    expect(&server.get(&alice, &unknown).await, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn messages_heed_filter_and_end() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    server.say(&bob, &room, "his").await;
    for number in 0..30 {
        server.say(&alice, &room, &format!("hers{number}")).await;
    }
    let his = filter(
        &json!({"senders": [bob.id], "types": ["m.room.message"], "lazy_load_members": true}),
    );
    let path = format!("/rooms/{room}/messages?dir=b&limit=5{his}");
    let page = expect_ok(server.get(&alice, &path).await);
    assert_eq!(bodies(&page["chunk"]), ["his"]);
    assert_eq!(
        places(&page["state"]),
        [("m.room.member".to_owned(), bob.id.clone())]
    );
    assert!(page.get("end").is_none());
    let path = format!("/rooms/{room}/messages?dir=b&limit=3");
    let page = expect_ok(server.get(&alice, &path).await);
    assert_eq!(bodies(&page["chunk"]), ["hers29", "hers28", "hers27"]);
    let (start, end) = (
        page["start"].as_str().unwrap(),
        page["end"].as_str().unwrap(),
    );
    let path = format!("/rooms/{room}/messages?dir=b&limit=10&from={start}&to={end}");
    let page = expect_ok(server.get(&alice, &path).await);
    assert_eq!(bodies(&page["chunk"]).len(), 3);
    assert!(page.get("end").is_none());
    let path = format!("/rooms/{room}/messages?dir=b&from=x");
    expect(&server.get(&alice, &path).await, 400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn relations_are_found_by_type_and_page() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let root = server.say(&alice, &room, "root").await;
    for (number, rel_type) in ["m.thread", "m.thread", "m.annotation"].iter().enumerate() {
        let content = json!({
            "msgtype": "m.text", "body": format!("r{number}"),
            "m.relates_to": {"rel_type": rel_type, "event_id": root, "key": "x"},
        });
        let path = format!("/rooms/{room}/send/m.room.message/r{number}");
        expect_ok(server.put(&alice, &path, content).await);
    }
    let v1 = format!("/_matrix/client/v1/rooms/{room}/relations/{root}");
    let all = expect_ok(server.get(&alice, &v1).await);
    assert_eq!(bodies(&all["chunk"]), ["r2", "r1", "r0"]);
    let thread = expect_ok(server.get(&alice, &format!("{v1}/m.thread?limit=1")).await);
    assert_eq!(bodies(&thread["chunk"]), ["r1"]);
    let from = thread["next_batch"].as_str().unwrap();
    let thread = expect_ok(
        server
            .get(&alice, &format!("{v1}/m.thread?from={from}"))
            .await,
    );
    assert_eq!(bodies(&thread["chunk"]), ["r0"]);
    let none = expect_ok(
        server
            .get(&alice, &format!("{v1}/m.thread/m.reaction"))
            .await,
    );
    assert_eq!(none["chunk"], json!([]));
}

#[tokio::test]
async fn edits_and_threads_are_bundled() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let root = server.say(&alice, &room, "root").await;
    for (user, name, rel_type) in [
        (&alice, "edit", "m.replace"),
        (&bob, "forged", "m.replace"),
        (&bob, "answer", "m.thread"),
    ] {
        let content = json!({
            "msgtype": "m.text", "body": name, "m.new_content": {"body": name},
            "m.relates_to": {"rel_type": rel_type, "event_id": root},
        });
        let path = format!("/rooms/{room}/send/m.room.message/{name}");
        expect_ok(server.put(user, &path, content).await);
    }
    let event = expect_ok(
        server
            .get(&bob, &format!("/rooms/{room}/event/{root}"))
            .await,
    );
    assert_eq!(event["content"]["body"], "root");
    let bundled = &event["unsigned"]["m.relations"];
    assert_eq!(bundled["m.replace"]["content"]["body"], "edit");
    assert_eq!(bundled["m.thread"]["count"], 1);
    assert_eq!(
        bundled["m.thread"]["latest_event"]["content"]["body"],
        "answer"
    );
    assert_eq!(bundled["m.thread"]["current_user_participated"], true);
}

#[tokio::test]
async fn state_and_members_are_for_members() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let eve = server.register("eve").await;
    let room = server.room(&alice, json!({"name": "News"})).await;
    server.join(&bob, &room).await;
    let name = format!("/rooms/{room}/state/m.room.name/");
    assert_eq!(
        expect_ok(server.get(&bob, &name).await),
        json!({"name": "News"})
    );
    let event = expect_ok(server.get(&bob, &format!("{name}?format=event")).await);
    assert_eq!(event["sender"], alice.id);
    let absent = format!("/rooms/{room}/state/m.room.avatar/");
    expect(&server.get(&bob, &absent).await, 404, "M_NOT_FOUND");
    let members = expect_ok(
        server
            .get(&bob, &format!("/rooms/{room}/joined_members"))
            .await,
    );
    assert_eq!(members["joined"].as_object().unwrap().len(), 2);
    assert_eq!(
        expect_ok(server.get(&bob, "/joined_rooms").await)["joined_rooms"],
        json!([room])
    );
    for path in [
        "state",
        "members",
        "joined_members",
        "messages?dir=b",
        "state/m.room.name/",
    ] {
        let answer = server.get(&eve, &format!("/rooms/{room}/{path}")).await;
        expect(&answer, 403, "M_FORBIDDEN");
        let answer = server
            .get(&eve, &format!("/rooms/!unknown:example.org/{path}"))
            .await;
        expect(&answer, 403, "M_FORBIDDEN");
    }
    let id = server.say(&alice, &room, "secret").await;
    let event = format!("/rooms/{room}/event/{id}");
    expect(&server.get(&eve, &event).await, 404, "M_NOT_FOUND");
    assert_eq!(
        expect_ok(server.get(&bob, &event).await)["content"]["body"],
        "secret"
    );
}

#[tokio::test]
async fn who_left_sees_the_room_as_it_was_then() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({"name": "Before"})).await;
    server.join(&bob, &room).await;
    server.say(&alice, &room, "seen").await;
    expect_ok(
        server
            .post(&bob, &format!("/rooms/{room}/leave"), json!({}))
            .await,
    );
    let unseen = server.say(&alice, &room, "unseen").await;
    let name = format!("/rooms/{room}/state/m.room.name/");
    expect_ok(server.put(&alice, &name, json!({"name": "After"})).await);
    assert_eq!(
        expect_ok(server.get(&bob, &name).await),
        json!({"name": "Before"})
    );
    let page = expect_ok(
        server
            .get(&bob, &format!("/rooms/{room}/messages?dir=b&limit=50"))
            .await,
    );
    assert_eq!(bodies(&page["chunk"]), ["seen"]);
    let event = format!("/rooms/{room}/event/{unseen}");
    expect(&server.get(&bob, &event).await, 404, "M_NOT_FOUND");
    let leave = format!("/rooms/{room}/members?membership=leave");
    let leave = expect_ok(server.get(&bob, &leave).await);
    assert_eq!(
        places(&leave["chunk"]),
        [("m.room.member".to_owned(), bob.id.clone())]
    );
    expect(
        &server
            .get(&bob, &format!("/rooms/{room}/joined_members"))
            .await,
        403,
        "M_FORBIDDEN",
    );
}

#[tokio::test]
async fn history_from_before_a_join_follows_the_visibility() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let joined_only = json!([{
        "type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"},
    }]);
    let room = server
        .room(&alice, json!({"initial_state": joined_only}))
        .await;
    let hidden = server.say(&alice, &room, "hidden").await;
    server.join(&bob, &room).await;
    server.say(&alice, &room, "shown").await;
    let page = expect_ok(
        server
            .get(&bob, &format!("/rooms/{room}/messages?dir=b&limit=50"))
            .await,
    );
    assert_eq!(bodies(&page["chunk"]), ["shown"]);
    let answer = server.sync(&bob, "", "").await;
    assert_eq!(
        bodies(&answer["rooms"]["join"][&room]["timeline"]["events"]),
        ["shown"]
    );
    let event = format!("/rooms/{room}/event/{hidden}");
    expect(&server.get(&bob, &event).await, 404, "M_NOT_FOUND");
}

#[tokio::test]
async fn a_redacted_event_shows_its_redaction_and_no_content() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let id = server.say(&alice, &room, "gone").await;
    let reason = json!({"reason": "mistake"});
    expect_ok(
        server
            .put(&alice, &format!("/rooms/{room}/redact/{id}/txn"), reason)
            .await,
    );
    let event = expect_ok(
        server
            .get(&alice, &format!("/rooms/{room}/event/{id}"))
            .await,
    );
    assert_eq!(event["content"], json!({}));
    let because = &event["unsigned"]["redacted_because"];
    assert_eq!(because["redacts"], id);
    assert_eq!(because["content"]["redacts"], id);
    assert_eq!(because["content"]["reason"], "mistake");
}
