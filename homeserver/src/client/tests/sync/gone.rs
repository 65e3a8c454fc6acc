//! Rooms that a user is gone from: what they may still see, and what not.

use super::*;

impl Server {
    /// Changes a user's membership by one of the endpoints that name a user in the body.
    async fn put_out(&self, by: &User, room: &str, how: &str, user: &User) {
        let body = json!({"user_id": user.id});
        expect_ok(self.post(by, &format!("/rooms/{room}/{how}"), body).await);
    }

    async fn leave(&self, user: &User, room: &str) {
        let path = format!("/rooms/{room}/leave");
        expect_ok(self.post(user, &path, json!({})).await);
    }

    async fn set_topic(&self, user: &User, room: &str, topic: &str) {
        let path = format!("/rooms/{room}/state/m.room.topic/");
        expect_ok(self.put(user, &path, json!({"topic": topic})).await);
    }
}

fn left() -> String {
    filter(&json!({"room": {"include_leave": true}}))
}

#[tokio::test]
async fn state_after_the_timeline_ends_with_the_leave() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let carol = server.register("carol").await;
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = next(&server.sync(&bob, "", "").await);
    server.set_topic(&alice, &room, "before").await;
    server.put_out(&alice, &room, "ban", &bob).await;
    server.set_topic(&alice, &room, "after").await;
    server.join(&carol, &room).await;
    for since in ["", &since] {
        let query = format!("{}&use_state_after=true", left());
        let answer = server.sync(&bob, since, &query).await;
        let state = answer["rooms"]["leave"][&room]["state_after"]["events"].clone();
        let text = state.to_string();
        assert!(!text.contains("\"after\""), "{text}");
        assert!(!text.contains(&carol.id), "{text}");
        assert!(text.contains("\"before\""), "{text}");
    }
}

#[tokio::test]
async fn a_refused_invite_shows_no_state_of_the_room() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server
        .room(
            &alice,
            json!({"preset": "private_chat", "invite": [bob.id]}),
        )
        .await;
    server.set_topic(&alice, &room, "inner circle").await;
    let since = next(&server.sync(&bob, "", "").await);
    server.leave(&bob, &room).await;
    for since in ["", &since] {
        for after in ["", "&use_state_after=true"] {
            let query = format!("{}{after}", left());
            let answer = server.sync(&bob, since, &query).await;
            let told = answer["rooms"]["leave"][&room].clone();
            assert!(told.is_object(), "{answer}");
            assert!(!told.to_string().contains("inner circle"), "{told}");
            assert!(!told.to_string().contains("m.room.power_levels"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_forgotten_room_is_read_no_more_until_joined_again() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let said = server.say(&alice, &room, "seen").await;
    server.leave(&bob, &room).await;
    let paths = [
        format!("/rooms/{room}/messages?dir=b"),
        format!("/rooms/{room}/state"),
        format!("/rooms/{room}/members"),
        format!("/rooms/{room}/context/{said}"),
    ];
    for path in &paths {
        expect_ok(server.get(&bob, path).await);
    }
    let forget = format!("/rooms/{room}/forget");
    expect_ok(server.post(&bob, &forget, json!({})).await);
    for path in &paths {
        expect(&server.get(&bob, path).await, 403, "M_FORBIDDEN");
    }
    let event = format!("/rooms/{room}/event/{said}");
    expect(&server.get(&bob, &event).await, 404, "M_NOT_FOUND");
    server.join(&bob, &room).await;
    for path in &paths {
        expect_ok(server.get(&bob, path).await);
    }
}

#[tokio::test]
async fn a_ban_or_an_invite_after_the_leave_takes_no_history_away() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let seen = server.say(&alice, &room, "seen").await;
    server.put_out(&alice, &room, "kick", &bob).await;
    let unseen = server.say(&alice, &room, "unseen").await;
    for how in ["ban", "unban", "invite"] {
        server.put_out(&alice, &room, how, &bob).await;
        server.set_topic(&alice, &room, how).await;
        let page = format!("/rooms/{room}/messages?dir=b&limit=50");
        let page = expect_ok(server.get(&bob, &page).await);
        assert_eq!(bodies(&page["chunk"]), ["seen"], "{how}");
        let state = expect_ok(server.get(&bob, &format!("/rooms/{room}/state")).await);
        assert!(!places(&state).contains(&("m.room.topic".to_owned(), String::new())));
        let event = |id: &str| format!("/rooms/{room}/event/{id}");
        expect_ok(server.get(&bob, &event(&seen)).await);
        expect(&server.get(&bob, &event(&unseen)).await, 404, "M_NOT_FOUND");
    }
    // A refused invite changes nothing of that either.
    server.leave(&bob, &room).await;
    let answer = server.sync(&bob, "", &left()).await;
    let told = answer["rooms"]["leave"][&room].to_string();
    assert!(told.contains("seen") && !told.contains("unseen"), "{told}");
    assert!(!told.contains("m.room.topic"), "{told}");
}

#[tokio::test]
async fn a_stay_between_two_syncs_is_told_with_its_whole_state() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    for number in 0..15 {
        server.say(&alice, &room, &format!("m{number}")).await;
    }
    let since = next(&server.sync(&bob, "", "").await);
    server.join(&bob, &room).await;
    server.leave(&bob, &room).await;
    let answer = server.sync(&bob, &since, "").await;
    let state = places(&answer["rooms"]["leave"][&room]["state"]["events"]);
    for kind in ["m.room.create", "m.room.power_levels"] {
        assert!(state.iter().any(|place| place.0 == kind), "{answer}");
    }
}
