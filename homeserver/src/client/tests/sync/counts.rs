//! Unread counts: what clears them, and what belongs to which thread.

use super::*;

impl Server {
    /// Sends a text that relates to another event, and answers with its id.
    async fn relate(&self, user: &User, room: &str, kind: &str, txn: &str, to: Value) -> String {
        let content = json!({"msgtype": "m.text", "body": txn, "m.relates_to": to});
        let path = format!("/rooms/{room}/send/{kind}/{txn}");
        let answer = expect_ok(self.put(user, &path, content).await);
        answer["event_id"].as_str().unwrap().to_owned()
    }

    async fn count(&self, user: &User, room: &str, since: &str) -> (u64, String) {
        let answer = self.sync(user, since, "").await;
        let counts = &answer["rooms"]["join"][room]["unread_notifications"];
        let count = counts["notification_count"].as_u64();
        (count.unwrap_or(u64::MAX), next(&answer))
    }
}

#[tokio::test]
async fn who_answers_has_read_what_came_before() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let (_, since) = server.count(&bob, &room, "").await;
    for number in 0..3 {
        server.say(&alice, &room, &format!("m{number}")).await;
    }
    let (count, since) = server.count(&bob, &room, &since).await;
    assert_eq!(count, 3);
    server.say(&bob, &room, "mine").await;
    let (count, since) = server.count(&bob, &room, &since).await;
    assert_eq!(count, 0);
    server.say(&alice, &room, "more").await;
    assert_eq!(server.count(&bob, &room, &since).await.0, 1);
    let server = server.restart().await;
    assert_eq!(server.count(&bob, &room, "").await.0, 1);
}

#[tokio::test]
async fn an_answer_in_a_thread_reads_that_thread_alone() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let root = server.say(&alice, &room, "root").await;
    let thread = json!({"rel_type": "m.thread", "event_id": root});
    let kind = "m.room.message";
    server
        .relate(&alice, &room, kind, "t1", thread.clone())
        .await;
    server.relate(&bob, &room, kind, "t2", thread).await;
    let by_thread = filter(&json!({"room": {"timeline": {"unread_thread_notifications": true}}}));
    for server in [&server] {
        let answer = server.sync(&bob, "", &by_thread).await;
        let joined = &answer["rooms"]["join"][&room];
        assert_eq!(joined["unread_notifications"]["notification_count"], 1);
        assert!(
            joined.get("unread_thread_notifications").is_none(),
            "{joined}"
        );
    }
    let server = server.restart().await;
    assert_eq!(server.count(&bob, &room, "").await.0, 1);
}

#[tokio::test]
async fn counts_of_an_absence_and_of_a_new_name_are_none() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let (_, since) = server.count(&bob, &room, "").await;
    let leave = format!("/rooms/{room}/leave");
    expect_ok(server.post(&bob, &leave, json!({})).await);
    for number in 0..5 {
        server.say(&alice, &room, &format!("absent{number}")).await;
    }
    server.join(&bob, &room).await;
    server.say(&alice, &room, "back").await;
    assert_eq!(server.count(&bob, &room, &since).await.0, 1);
    // A new name is no reading: on a cold cache the count is the same.
    let name = format!("/profile/{}/displayname", alice.id);
    let (_, since) = server.count(&alice, &room, "").await;
    expect_ok(server.put(&alice, &name, json!({"displayname": "A"})).await);
    server.say(&bob, &room, "to alice").await;
    let name = json!({"displayname": "B"});
    let path = format!("/profile/{}/displayname", alice.id);
    let (warm, _) = server.count(&alice, &room, &since).await;
    expect_ok(server.put(&alice, &path, name).await);
    let server = server.restart().await;
    assert_eq!((warm, server.count(&alice, &room, "").await.0), (1, 1));
}

#[tokio::test]
async fn a_reaction_belongs_to_the_thread_of_what_it_reacts_to() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let root = server.say(&alice, &room, "root").await;
    let path = format!("/rooms/{room}/receipt/m.read/{root}");
    let main = json!({"thread_id": "main"});
    expect_ok(server.post(&bob, &path, main.clone()).await);
    let kind = "m.room.message";
    let thread = json!({"rel_type": "m.thread", "event_id": root});
    let inside = server.relate(&alice, &room, kind, "in", thread).await;
    let about = |id: &str| json!({"rel_type": "m.reference", "event_id": id});
    let about_it = server
        .relate(&alice, &room, kind, "about", about(&inside))
        .await;
    let by_thread = filter(&json!({"room": {"timeline": {"unread_thread_notifications": true}}}));
    let answer = server.sync(&bob, "", &by_thread).await;
    let joined = &answer["rooms"]["join"][&room];
    assert_eq!(
        joined["unread_notifications"]["notification_count"], 0,
        "{joined}"
    );
    let threads = &joined["unread_thread_notifications"];
    assert_eq!(threads[&root]["notification_count"], 2, "{joined}");
    // A receipt names the thread that its event is in.
    let path = |id: &str| format!("/rooms/{room}/receipt/m.read/{id}");
    let wrong = server.post(&bob, &path(&about_it), main.clone()).await;
    expect(&wrong, 400, "M_INVALID_PARAM");
    let wrong = json!({"thread_id": inside});
    let wrong = server.post(&bob, &path(&about_it), wrong).await;
    expect(&wrong, 400, "M_INVALID_PARAM");
    for (id, thread) in [(&about_it, &*root), (&root, &*root), (&root, "main")] {
        let body = json!({"thread_id": thread});
        expect_ok(server.post(&bob, &path(id), body).await);
    }
    let answer = server.sync(&bob, "", &by_thread).await;
    let joined = &answer["rooms"]["join"][&room];
    assert!(
        joined.get("unread_thread_notifications").is_none(),
        "{joined}"
    );
}
