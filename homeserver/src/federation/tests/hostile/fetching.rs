//! What is asked of peers for the sake of an event, and what is made of their answers.

use super::*;

/// Has Mallory send an event whose predecessor is not held, with a state in which one event is
/// nowhere to be found.
async fn with_a_hole(kind: &str) -> Result<OwnedEventId, ReceiveError> {
    let siege = Siege::start().await;
    let now = siege.here.now(&siege.room).await;
    let hole = now.state_id(&kind.into(), "").unwrap();
    let lost: OwnedEventId = "$lost".try_into().unwrap();
    let state: Vec<_> = now
        .state
        .values()
        .map(|id| if id == hole { &lost } else { id })
        .collect();
    let answer = json!({ "auth_chain_ids": [], "pdu_ids": state });
    siege.evil.serve("/state_ids/", answer);
    let made = Made {
        prev: vec!["$unknown".try_into().unwrap()],
        ..siege.mallory_says("hello").await
    };
    siege.evil.send(&siege.here, &made).await
}

#[tokio::test]
async fn a_state_with_a_hole_that_could_decide_is_no_state() {
    let answer = with_a_hole("m.room.power_levels").await;
    assert!(matches!(answer, Err(ReceiveError::Unplaced)), "{answer:?}");
    // The control: what says nothing of the event may be missing.
    with_a_hole("m.room.name").await.unwrap();
}

#[tokio::test]
async fn one_unknown_event_is_asked_for_alone_however_long_the_auth_chain() {
    let siege = Siege::start().await;
    let Siege {
        here, good, room, ..
    } = &siege;
    let who = dora();
    let content = json!({ "membership": "join", "displayname": "Dora" });
    let made = here.made(
        room,
        who.clone(),
        "m.room.member",
        Some(who.as_str()),
        content,
    );
    let member = good.sign(&*here.now(room).await, &made.await);
    let id = member.pdu().event_id.clone();
    let now = here.now(room).await;
    let old = now.state_id(&StateEventType::RoomMember, who.as_str());
    let made = here
        .made(room, who.clone(), "m.room.message", None, text("hello"))
        .await;
    let auth = made.auth.iter().map(|auth| match Some(&**auth) == old {
        true => id.clone(),
        false => auth.clone(),
    });
    let made = Made {
        auth: auth.collect(),
        ..made.clone()
    };
    let event = json!({ "origin": "good.example", "origin_server_ts": 1, "pdus": [wire(&member)] });
    good.serve(&format!("/event/{id}"), event);
    let long = vec![json!({}); 1_500];
    good.serve("/event_auth/", json!({ "auth_chain": long }));
    good.send(here, &made).await.unwrap();
    assert_eq!(here.bodies(room).await, ["hello"]);
    assert_eq!(here.held(&id).await.unwrap().status, EventStatus::Outlier);
}
