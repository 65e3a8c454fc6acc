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
