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
