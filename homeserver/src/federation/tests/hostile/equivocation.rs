//! A server that tells others different things.

use super::*;

/// The bodies of all messages of a room, sorted.
async fn bodies(server: &Server, room: &OwnedRoomId) -> Vec<String> {
    let mut bodies = server.bodies(room).await;
    bodies.sort();
    bodies
}

/// Hands an event of one server of ours to another.
async fn hand(to: &Server, from: &str, room: &OwnedRoomId, pdu: &Value) {
    let from: OwnedServerName = from.try_into().unwrap();
    let pdu = to_raw_value(pdu).unwrap();
    to.app.rooms.receive(&from, room, &pdu).await.unwrap();
}

#[tokio::test]
async fn who_says_different_things_to_two_servers_is_found_to_have_said_both() {
    let (wires, clock) = (Wires::default(), MockClock::new(MockClock::START_MS));
    let one = server("one.example", &wires, &clock, 1).await;
    let two = server("two.example", &wires, &clock, 2).await;
    let evil = Hostile::start("evil.example", &wires);
    let room = one.create(Preset::PublicChat, RoomVersionId::V11).await;
    evil.join(&one, &room, &mallory()).await;
    two.join(&room, &bob()).await.unwrap();
    // Two events with the same predecessors, of which each server gets another.
    let told = one
        .made(&room, mallory(), "m.room.message", None, text("left"))
        .await;
    evil.send(&one, &told).await.unwrap();
    let other = Made {
        content: text("right"),
        ..told
    };
    evil.send(&two, &other).await.unwrap();
    // The control: until they hear of each other, they hold different things.
    assert_eq!(bodies(&one, &room).await, ["left"]);
    assert_eq!(bodies(&two, &room).await, ["right"]);
    let next = one.say(&room, alice(), "next").await;
    hand(&two, "one.example", &room, &next).await;
    let reply = two.say(&room, bob(), "reply").await;
    hand(&one, "two.example", &room, &reply).await;
    for server in [&one, &two] {
        let expected = ["left", "next", "reply", "right"];
        assert_eq!(bodies(server, &room).await, expected);
    }
    let (left, right) = (one.now(&room).await, two.now(&room).await);
    assert!(left.state == right.state);
    assert_eq!(left.extremities, right.extremities);
}
