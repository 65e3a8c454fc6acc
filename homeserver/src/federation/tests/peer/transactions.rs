//! Transactions: their form, their identity, their answers.

use super::*;

#[tokio::test]
async fn a_transaction_in_another_servers_name_is_refused() {
    let world = World::start().await;
    let body = json!({"origin": "third.org", "origin_server_ts": 1, "pdus": []});
    let (status, error) = world
        .ask("PUT", "/_matrix/federation/v1/send/1", body)
        .await;
    assert_eq!(
        (status, error["errcode"].as_str()),
        (403, Some("M_FORBIDDEN"))
    );
}

#[tokio::test]
async fn a_transaction_that_holds_too_much_is_refused() {
    let world = World::start().await;
    let many = |count| {
        json!(
            (0..count)
                .map(|_| json!({"edu_type": "x", "content": {}}))
                .collect::<Vec<_>>()
        )
    };
    assert_eq!(world.send("1", many(51), json!([])).await.0, 400);
    assert_eq!(world.send("2", json!([]), many(101)).await.0, 400);
    assert_eq!(world.send("3", many(50), many(100)).await.0, 200);
}

#[tokio::test]
async fn an_event_that_is_no_event_fails_nothing_else() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let pdus = json!([
        {"room_id": room, "type": "m.room.message"},
        {"no": "room"},
        "no event",
        {"room_id": "!unknown:peer.org", "type": "x"},
    ]);
    let typing = json!([{"edu_type": "m.typing", "content": {"room_id": room, "user_id": bob(), "typing": true}}]);
    let (status, answer) = world.send("1", pdus, typing).await;
    assert_eq!(status, 200);
    let outcomes = answer["pdus"].as_object().unwrap();
    assert!(
        outcomes
            .values()
            .all(|outcome| outcome["error"].is_string()),
        "{answer}"
    );
    assert_eq!(
        world.app.typing.since(&room, 0),
        Some(vec![bob().to_owned()])
    );
}

#[tokio::test]
async fn a_repeated_transaction_is_answered_again_and_not_carried_out_again() {
    let world = World::start().await;
    let room = world.shared_room().await;
    let typing = |on: bool| json!([{"edu_type": "m.typing", "content": {"room_id": room, "user_id": bob(), "typing": on}}]);
    let first = world.send("1", json!([]), typing(true)).await;
    world.send("2", json!([]), typing(false)).await;
    assert_eq!(world.send("1", json!([]), typing(true)).await, first);
    assert_eq!(world.app.typing.since(&room, 0), Some(vec![]));
    // The control: under another identifier it is carried out.
    world.send("3", json!([]), typing(true)).await;
    assert_eq!(
        world.app.typing.since(&room, 0),
        Some(vec![bob().to_owned()])
    );
}
