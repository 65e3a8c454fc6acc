//! Threads, and people whom one does not want to hear.

use super::*;

#[tokio::test]
async fn threads_show_nothing_of_what_ignored_people_said() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let carol = server.register("carol").await;
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    server.join(&carol, &room).await;
    let answer = async |user: &User, root: &str, text: &str| {
        let path = format!("/rooms/{room}/send/m.room.message/{text}");
        let relation = json!({"rel_type": "m.thread", "event_id": root});
        let body = json!({"msgtype": "m.text", "body": text, "m.relates_to": relation});
        expect_ok(server.put(user, &path, body).await);
    };
    let bobs = server.say(&bob, &room, "bobs_root").await;
    let carols = server.say(&carol, &room, "carols_root").await;
    let lonely = server.say(&alice, &room, "lonely_root").await;
    answer(&carol, &bobs, "to_bob").await;
    answer(&alice, &carols, "to_carol").await;
    answer(&bob, &bobs, "late").await;
    answer(&bob, &lonely, "bob_alone").await;
    let path = format!("/_matrix/client/v1/rooms/{room}/threads");
    let roots = async || {
        let answer = expect_ok(server.get(&alice, &path).await);
        let chunk = answer["chunk"].as_array().unwrap().clone();
        let of = |event: &Value| (event["event_id"].clone(), event["content"]["body"].clone());
        chunk.iter().map(of).collect::<Vec<_>>()
    };
    let before = [
        (json!(lonely), json!("lonely_root")),
        (json!(bobs), json!("bobs_root")),
        (json!(carols), json!("carols_root")),
    ];
    assert_eq!(roots().await, before);
    let data = format!("/user/{}/account_data/m.ignored_user_list", alice.id);
    let ignored = json!({"ignored_users": {bob.id: {}}});
    expect_ok(server.put(&alice, &data, ignored).await);
    let after = [
        (json!(carols), json!("carols_root")),
        (json!(bobs), Value::Null),
    ];
    assert_eq!(roots().await, after);
}

#[tokio::test]
async fn a_thread_begins_at_an_event_that_relates_to_no_other() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let relate = async |txn: &str, relation: Value| {
        let path = format!("/rooms/{room}/send/m.room.message/{txn}");
        let body = json!({"msgtype": "m.text", "body": txn, "m.relates_to": relation});
        server.put(&alice, &path, body).await
    };
    let thread = |root: &Value| json!({"rel_type": "m.thread", "event_id": root});
    let root = json!(server.say(&alice, &room, "root").await);
    let first = expect_ok(relate("1", thread(&root)).await)["event_id"].clone();
    let reply = json!({"m.in_reply_to": {"event_id": root}});
    let reply = expect_ok(relate("2", reply).await)["event_id"].clone();
    let edit = json!({"rel_type": "m.replace", "event_id": root});
    let edit = expect_ok(relate("3", edit).await)["event_id"].clone();
    for (txn, related) in [("4", &first), ("5", &reply), ("6", &edit)] {
        expect(&relate(txn, thread(related)).await, 400, "M_UNKNOWN");
    }
    // More of the thread, a thread from what is not known here, and other relations of the same events are taken.
    expect_ok(relate("7", thread(&root)).await);
    expect_ok(relate("8", thread(&json!("$unknown"))).await);
    expect_ok(relate("9", json!({"rel_type": "m.reference", "event_id": first})).await);
    let path = format!("/_matrix/client/v1/rooms/{room}/threads");
    let threads = expect_ok(server.get(&alice, &path).await);
    assert_eq!(threads["chunk"].as_array().unwrap().len(), 1);
    assert_eq!(threads["chunk"][0]["event_id"], root);
}

#[tokio::test]
async fn what_redacts_an_event_is_none_of_its_children() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let relate = async |txn: &str, rel_type: &str, parent: &Value| {
        let path = format!("/rooms/{room}/send/m.room.message/{txn}");
        let relation = json!({"rel_type": rel_type, "event_id": parent});
        let body = json!({"msgtype": "m.text", "body": txn, "m.relates_to": relation});
        expect_ok(server.put(&alice, &path, body).await)["event_id"].clone()
    };
    let root = json!(server.say(&alice, &room, "root").await);
    let answer = relate("1", "m.thread", &root).await;
    let custom = relate("2", "redacts", &root).await;
    let indirect = relate("3", "m.reference", &answer).await;
    let redact = format!("/rooms/{room}/redact/{}/4", root.as_str().unwrap());
    let redaction = expect_ok(server.put(&alice, &redact, json!({})).await)["event_id"].clone();
    // Nor is what is said about the redaction.
    relate("5", "m.reference", &redaction).await;
    let children = async |rest: &str| {
        let root = root.as_str().unwrap();
        let path = format!("/_matrix/client/v1/rooms/{room}/relations/{root}{rest}");
        let shown = expect_ok(server.get(&alice, &path).await);
        let ids = shown["chunk"].as_array().unwrap().iter();
        let ids: Vec<Value> = ids.map(|event| event["event_id"].clone()).collect();
        (ids, shown["recursion_depth"].clone())
    };
    assert_eq!(children("/redacts").await.0, [custom]);
    assert_eq!(children("").await, (vec![answer.clone()], Value::Null));
    assert_eq!(
        children("?recurse=true").await,
        (vec![indirect, answer], json!(2))
    );
}
