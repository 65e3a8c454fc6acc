//! What a sync holds back or adds: ignored people, bundled relations, expiry for clients that know nothing of it.

use super::{filter, *};

async fn ignore(server: &Server, user: &User, ignored: &User) {
    let path = format!("/user/{}/account_data/m.ignored_user_list", user.id);
    let body = json!({"ignored_users": {&ignored.id: {}}});
    expect_ok(server.put(user, &path, body).await);
}

#[tokio::test]
async fn nothing_comes_from_people_who_are_ignored() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = next(&server.sync(&alice, "", "").await);
    ignore(&server, &alice, &bob).await;
    let event = server.say(&bob, &room, "hello").await;
    server.say(&alice, &room, "nobody there").await;
    let path = format!("/rooms/{room}/typing/{}", bob.id);
    expect_ok(
        server
            .put(&bob, &path, json!({"typing": true, "timeout": 30000}))
            .await,
    );
    let path = format!("/rooms/{room}/receipt/m.read/{event}");
    expect_ok(server.post(&bob, &path, json!({})).await);
    let path = format!("/rooms/{room}/state/m.room.member/{}", bob.id);
    let member = json!({"membership": "join", "displayname": "Robert"});
    expect_ok(server.put(&bob, &path, member).await);
    let private = server.room(&bob, json!({"invite": [alice.id]})).await;
    let answer = server.sync(&alice, &since, "").await;
    let told = &answer["rooms"]["join"][&room];
    assert_eq!(bodies(&told["timeline"]["events"]), ["nobody there"]);
    assert!(
        told["timeline"]["events"].to_string().contains("Robert"),
        "state is told all the same: {answer}"
    );
    assert!(!told["ephemeral"].to_string().contains(&bob.id), "{answer}");
    assert_eq!(told["unread_notifications"]["notification_count"], 0);
    assert!(
        answer["rooms"]["invite"].get(&private).is_none(),
        "{answer}"
    );
}

#[tokio::test]
async fn edits_threads_and_references_are_bundled() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let root = server.say(&alice, &room, "root").await;
    let relate = async |user: &User, txn: &str, kind: &str, content: Value| {
        let path = format!("/rooms/{room}/send/{kind}/{txn}");
        let answer = expect_ok(server.put(user, &path, content).await);
        answer["event_id"].as_str().unwrap().to_owned()
    };
    let text = |body: &str, rel_type: &str, parent: &str| {
        json!({
            "msgtype": "m.text", "body": body, "m.new_content": {"msgtype": "m.text", "body": body},
            "m.relates_to": {"rel_type": rel_type, "event_id": parent},
        })
    };
    let message = "m.room.message";
    relate(&alice, "1", message, text("better", "m.replace", &root)).await;
    relate(&bob, "2", message, text("not his", "m.replace", &root)).await;
    let answer = relate(&bob, "3", message, text("answer", "m.thread", &root)).await;
    let edit = relate(&bob, "4", message, text("answer!", "m.replace", &answer)).await;
    let reference = relate(&bob, "5", message, text("see", "m.reference", &root)).await;
    let all = server
        .sync(
            &alice,
            "",
            &filter(&json!({"room": {"timeline": {"limit": 50}}})),
        )
        .await;
    let events = &all["rooms"]["join"][&room]["timeline"]["events"];
    let events = events.as_array().unwrap();
    let told = events
        .iter()
        .find(|event| event["event_id"] == root)
        .unwrap();
    let bundled = &told["unsigned"]["m.relations"];
    assert_eq!(bundled["m.replace"]["content"]["body"], "better");
    let thread = &bundled["m.thread"];
    assert_eq!(thread["count"], 1);
    assert_eq!(thread["current_user_participated"], true);
    assert_eq!(thread["latest_event"]["event_id"], answer);
    let of_latest = &thread["latest_event"]["unsigned"]["m.relations"];
    assert_eq!(of_latest["m.replace"]["event_id"], edit);
    assert_eq!(
        bundled["m.reference"],
        json!({"chunk": [{"event_id": reference}]})
    );
    let path = format!("/rooms/{room}/event/{root}");
    let alone = expect_ok(server.get(&alice, &path).await);
    assert_eq!(alone["unsigned"]["m.relations"]["m.thread"]["count"], 1);
}

#[tokio::test]
async fn events_are_found_by_what_relates_to_them() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let root = server.say(&alice, &room, "root").await;
    let relate = async |txn: &str, rel_type: &str, parent: &str| {
        let path = format!("/rooms/{room}/send/m.room.message/{txn}");
        let content = json!({
            "msgtype": "m.text", "body": txn,
            "m.relates_to": {"rel_type": rel_type, "event_id": parent},
        });
        let answer = expect_ok(server.put(&bob, &path, content).await);
        answer["event_id"].as_str().unwrap().to_owned()
    };
    let answer = relate("answer", "m.thread", &root).await;
    relate("edit", "m.replace", &answer).await;
    let related = |filter: Value| {
        let filter: String = super::filter(&filter);
        format!("/rooms/{room}/messages?dir=b{filter}")
    };
    let found = expect_ok(
        server
            .get(
                &alice,
                &related(json!({"related_by_rel_types": ["m.thread"]})),
            )
            .await,
    );
    assert_eq!(found["chunk"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["chunk"][0]["event_id"], root);
    let by_alice = json!({"related_by_rel_types": ["m.thread"], "related_by_senders": [alice.id]});
    let found = expect_ok(server.get(&alice, &related(by_alice)).await);
    assert_eq!(found["chunk"], json!([]));
    // Indirectly related ones as well.
    let path = format!("/_matrix/client/v1/rooms/{room}/relations/{root}");
    let direct = expect_ok(server.get(&alice, &path).await);
    assert_eq!(
        direct["chunk"].as_array().map(Vec::len),
        Some(1),
        "{direct}"
    );
    assert!(direct.get("recursion_depth").is_none());
    let all = expect_ok(server.get(&alice, &format!("{path}?recurse=true")).await);
    assert_eq!(all["chunk"].as_array().map(Vec::len), Some(2), "{all}");
    assert_eq!(all["recursion_depth"], 2);
}

#[tokio::test]
async fn what_expires_is_redacted_for_those_who_were_told() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let policy = json!({
        "type": "org.passeur.room.expiry", "state_key": "", "content": {
            "default_ms": 300_000, "max_ms": 300_000, "after_read": false, "view_once": false,
            "require_support": false,
        },
    });
    let encryption = json!({
        "type": "m.room.encryption", "state_key": "",
        "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    });
    let room = server
        .room(&alice, json!({"initial_state": [policy, encryption]}))
        .await;
    server.join(&bob, &room).await;
    let content =
        json!({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgAEnACgAkLmt6qF84IK"});
    let path = format!("/rooms/{room}/send/m.room.encrypted/1");
    let sent = expect_ok(server.put(&alice, &path, content).await);
    let since = next(&server.sync(&bob, "", "").await);
    server.clock.advance(Duration::from_secs(301));
    let mut purge = crate::rooms::expiry::Purge::new(
        std::sync::Arc::clone(&server.app.rooms),
        crate::drain::Drain::new(),
        Duration::from_secs(10),
    );
    purge.pass().await.unwrap();
    let answer = server.sync(&bob, &since, "").await;
    let events = &answer["rooms"]["join"][&room]["timeline"]["events"];
    let redaction = &events[0];
    assert_eq!(redaction["type"], "m.room.redaction", "{answer}");
    assert_eq!(redaction["redacts"], sent["event_id"]);
    assert_eq!(redaction["content"]["redacts"], sent["event_id"]);
    assert_eq!(redaction["sender"], *alice.id);
    let later = server.sync(&bob, &next(&answer), "").await;
    assert!(later.get("rooms").is_none(), "{later}");
    // A first sync needs none: it tells the stub.
    let first = server.sync(&bob, "", "").await;
    let events = first["rooms"]["join"][&room]["timeline"]["events"].to_string();
    assert!(!events.contains("ciphertext"));
}

#[tokio::test]
async fn which_servers_keep_what_expires_is_told_to_members_alone() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    let path = format!("/_matrix/client/unstable/org.passeur/rooms/{room}/expiry_support");
    let told = expect_ok(server.get(&alice, &path).await);
    assert_eq!(told, json!({"lacking": [], "unknown": []}));
    let refused = server.get(&bob, &path).await;
    assert_eq!(refused.0, 403, "{refused:?}");
}

#[tokio::test]
async fn each_event_says_what_its_reader_was_then() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.say(&alice, &room, "before").await;
    expect_ok(
        server
            .post(
                &alice,
                &format!("/rooms/{room}/invite"),
                json!({"user_id": bob.id}),
            )
            .await,
    );
    server.say(&alice, &room, "invited").await;
    server.join(&bob, &room).await;
    server.say(&alice, &room, "joined").await;
    let path = format!("/rooms/{room}/messages?dir=f&limit=50");
    let page = expect_ok(server.get(&bob, &path).await);
    let events = page["chunk"].as_array().unwrap();
    let told: Vec<(&str, &str)> = events
        .iter()
        .filter_map(|event| {
            let body = event["content"]["body"].as_str()?;
            Some((body, event["unsigned"]["membership"].as_str()?))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("before", "leave"),
            ("invited", "invite"),
            ("joined", "join")
        ]
    );
}
