//! Stories of reactions.

use super::*;

#[tokio::test]
async fn the_same_reaction_is_taken_once() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let said = server.say(&alice, &room, "cake").await;
    let react = |user: &User, key: &str, txn: &str| {
        let relation = json!({"rel_type": "m.annotation", "event_id": said, "key": key});
        let path = format!("/rooms/{room}/send/m.reaction/{txn}");
        let (user, server) = (user.clone(), &server);
        async move {
            server
                .put(&user, &path, json!({"m.relates_to": relation}))
                .await
        }
    };
    let first = expect_ok(react(&bob, "+", "1").await);
    // A repeat of the request is none of the reaction.
    assert_eq!(expect_ok(react(&bob, "+", "1").await), first);
    expect(&react(&bob, "+", "2").await, 400, "M_DUPLICATE_ANNOTATION");
    expect_ok(react(&bob, "-", "3").await);
    expect_ok(react(&alice, "+", "4").await);
    let id = first["event_id"].as_str().unwrap();
    let redact = format!("/rooms/{room}/redact/{id}/5");
    expect_ok(server.put(&bob, &redact, json!({})).await);
    expect_ok(react(&bob, "+", "6").await);
    expect(&react(&bob, "+", "7").await, 400, "M_DUPLICATE_ANNOTATION");
}

#[tokio::test]
async fn of_the_same_reactions_at_once_one_is_taken() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let said = server.say(&alice, &room, "cake").await;
    let relation = json!({"rel_type": "m.annotation", "event_id": said, "key": "+"});
    let body = json!({"m.relates_to": relation});
    let paths: Vec<String> = (0..8)
        .map(|txn| format!("/rooms/{room}/send/m.reaction/{txn}"))
        .collect();
    let sends = paths
        .iter()
        .map(|path| server.put(&alice, path, body.clone()));
    let answers = futures_util::future::join_all(sends).await;
    assert_eq!(answers.iter().filter(|answer| answer.0 == 200).count(), 1);
}
