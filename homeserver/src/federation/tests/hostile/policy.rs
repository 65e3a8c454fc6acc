//! Rooms that use a policy server.

use super::{transactions::text_of, *};
use crate::{http::error::ApiError, rooms::SendError};

/// Alice's room, in which evil.example's Mallory is and policy.example judges what is said.
async fn judged_room() -> (Siege, Hostile) {
    let siege = Siege::start().await;
    let policy = Hostile::start("policy.example", &siege.wires);
    let here = &siege.here;
    let judge = user("@judge:policy.example");
    policy.join(here, &siege.room, &judge).await;
    let key = ruma::serde::Base64::<ruma::serde::base64::Standard>::new(
        policy.policy_key.public_key().to_vec(),
    );
    let content = json!({ "via": "policy.example", "public_keys": { "ed25519": key.encode() } });
    here.put(&siege.room, "m.room.policy", "", content).await;
    (siege, policy)
}

async fn try_to_say(siege: &Siege, body: &str) -> Result<OwnedEventId, SendError> {
    let draft = Draft {
        room_id: siege.room.clone(),
        sender: alice(),
        kind: "m.room.message".into(),
        state_key: None,
        content: to_raw_value(&text(body)).unwrap(),
        redacts: None,
        transaction: Some(crate::rooms::Transaction {
            device_id: "A".to_owned(),
            key: body.to_owned(),
        }),
        timestamp_ms: None,
    };
    siege.here.app.rooms.send(draft).await
}

#[tokio::test]
async fn an_event_of_ours_is_sent_with_a_recommendation_or_not_at_all() {
    let (siege, policy) = judged_room().await;
    let id = try_to_say(&siege, "hello").await.unwrap();
    let event = siege.here.held(&id).await.unwrap();
    let sent: Value = serde_json::from_slice(&projection::federation_event(&event, 0)).unwrap();
    assert!(sent["signatures"]["policy.example"]["ed25519:policy_server"].is_string());
    // A repeat is answered alike, and nobody is asked again.
    siege
        .wires
        .0
        .lock()
        .unwrap()
        .remove(policy.keys.server_name());
    assert_eq!(try_to_say(&siege, "hello").await.unwrap(), id);
    let refused = try_to_say(&siege, "nobody is there to judge").await;
    assert!(
        matches!(refused, Err(SendError::Forbidden(_))),
        "{refused:?}"
    );
    let (siege, _policy) = judged_room().await;
    // What the policy server answers is told as it stands.
    for (body, told) in [
        (
            "spam",
            (400, json!({ "errcode": "M_FORBIDDEN", "error": "spam" })),
        ),
        (
            "flood",
            (
                429,
                json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "slower", "retry_after_ms": 2_000 }),
            ),
        ),
    ] {
        let refused = try_to_say(&siege, body).await.unwrap_err();
        let response = ApiError::from(refused).into_response();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1_000).await;
        let body: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!((status, body), told);
    }
    assert!(siege.here.bodies(&siege.room).await.is_empty());
    // The room may always be freed of its policy server.
    siege
        .here
        .put(&siege.room, "m.room.policy", "", json!({}))
        .await;
    try_to_say(&siege, "spam").await.unwrap();
}

#[tokio::test]
async fn history_that_lies_in_a_gap_is_taken_to_the_policy_server_too() {
    let (siege, _policy) = judged_room().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    for (lost, status) in [
        ("in the gap", EventStatus::Accepted),
        ("spam", EventStatus::SoftFailed),
    ] {
        let made = siege.mallory_says(lost).await;
        let gap = evil.sign(&*here.now(room).await, &made);
        let id = gap.pdu().event_id.clone();
        let after = siege.mallory_says("after it").await;
        let after = Made {
            prev: vec![id.clone()],
            depth: made.depth + 1,
            ..after
        };
        evil.serve("/get_missing_events/", json!({ "events": [wire(&gap)] }));
        evil.send(here, &after).await.unwrap();
        assert_eq!(here.held(&id).await.unwrap().status, status);
    }
}

#[tokio::test]
async fn what_the_policy_server_does_not_recommend_is_soft_failed() {
    let (siege, policy) = judged_room().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let spam = siege.mallory_says("spam").await;
    let spam = evil.send(here, &spam).await.unwrap();
    let held = here.held(&spam).await.unwrap();
    assert_eq!(held.status, EventStatus::SoftFailed);
    let good = siege.mallory_says("good").await;
    evil.send(here, &good).await.unwrap();
    assert_eq!(here.bodies(room).await, ["good"]);
    // The control: once its people have left, it is not asked.
    let judge = user("@judge:policy.example");
    let content = json!({ "membership": "leave" });
    let key = judge.to_string();
    let leave = here.made(room, judge, "m.room.member", Some(&key), content);
    policy.send(here, &leave.await).await.unwrap();
    let spam = siege.mallory_says("spam again").await;
    evil.send(here, &spam).await.unwrap();
    assert_eq!(here.bodies(room).await, ["good", "spam again"]);
}

#[tokio::test]
async fn a_join_is_answered_and_kept_with_all_signatures_that_were_added() {
    let (siege, _policy) = judged_room().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let newcomer = user("@newcomer:evil.example");
    let content = json!({ "membership": "join" });
    let key = newcomer.to_string();
    let made = here.made(room, newcomer, "m.room.member", Some(&key), content);
    let event = evil.sign(&*here.now(room).await, &made.await);
    let id = &event.pdu().event_id;
    let uri = format!("/_matrix/federation/v2/send_join/{room}/{id}");
    let (status, answer) = evil.put(here, &uri, &text_of(&event)).await;
    assert_eq!(status, 200, "{answer}");
    let signed = answer["event"]["signatures"].as_object().unwrap();
    let servers: Vec<&String> = signed.keys().collect();
    assert_eq!(servers, ["evil.example", "one.example", "policy.example"]);
    assert!(signed["policy.example"]["ed25519:policy_server"].is_string());
    // What others are sent is the same.
    let held = here.held(id).await.unwrap();
    let sent: Value = serde_json::from_slice(&projection::federation_event(&held, 0)).unwrap();
    assert_eq!(sent["signatures"], answer["event"]["signatures"]);
}
