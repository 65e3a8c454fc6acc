//! Whose names stand for a room without one.

use super::*;

#[tokio::test]
async fn heroes_stand_in_the_order_in_which_they_came() {
    let server = Server::start().await;
    let reader = server.register("reader").await;
    let room = server.room(&reader, json!({})).await;
    let mut came = Vec::new();
    for name in ["zoe", "yves", "ann", "xaver", "bea", "carl"] {
        let user = server.register(name).await;
        server.join(&user, &room).await;
        came.push(user.id);
    }
    let answer = server.sync(&reader, "", "").await;
    let summary = &answer["rooms"]["join"][&room]["summary"];
    assert_eq!(summary["m.heroes"], json!(came[..5]));
    assert_eq!(summary["m.joined_member_count"], 7);
}

#[tokio::test]
async fn heroes_are_told_when_a_room_loses_its_name() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({"name": "desk"})).await;
    server.join(&bob, &room).await;
    let named = server.sync(&alice, "", "").await;
    let summary = |answer: &Value| answer["rooms"]["join"][&room]["summary"].clone();
    assert!(summary(&named).get("m.heroes").is_none());
    server.say(&alice, &room, "one").await;
    let same = server.sync(&alice, &next(&named), "").await;
    assert!(summary(&same).is_null(), "nothing of it has changed");
    let path = format!("/rooms/{room}/state/m.room.name/");
    expect_ok(server.put(&alice, &path, json!({})).await);
    let nameless = server.sync(&alice, &next(&same), "").await;
    assert_eq!(summary(&nameless)["m.heroes"], json!([bob.id]));
}
