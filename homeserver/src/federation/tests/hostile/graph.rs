//! Predecessors that are none, depths without end, forks without number.

use passeur_protocol::limits::{DEPTH_MAX, EXTREMITIES_MAX};

use super::*;

#[tokio::test]
async fn another_rooms_state_does_not_come_in_over_a_predecessor() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let trap = here.create(Preset::PublicChat, RoomVersionId::V11).await;
    here.put(&trap, "m.room.name", "", json!({ "name": "Trap" }))
        .await;
    evil.join(here, &trap, &mallory()).await;
    let before = here.now(room).await;
    let foreign = here.now(&trap).await.extremities.clone();
    for prev in [
        foreign.clone(),
        [before.extremities.clone(), foreign].concat(),
    ] {
        let made = siege.mallory_says("mixed").await;
        let answer = evil.send(here, &Made { prev, ..made }).await;
        assert!(matches!(answer, Err(ReceiveError::OtherRoom)), "{answer:?}");
    }
    let after = here.now(room).await;
    assert!(after.state == before.state);
    assert_eq!(after.extremities, before.extremities);
    // The control: the same event on the room's own newest one is taken.
    let made = siege.mallory_says("mine").await;
    evil.send(here, &made).await.unwrap();
}

#[tokio::test]
async fn the_greatest_depth_does_not_silence_the_room() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let made = siege.mallory_says("deep").await;
    let depth = DEPTH_MAX;
    evil.send(here, &Made { depth, ..made }).await.unwrap();
    for _ in 0..2 {
        let event = here.say(room, alice(), "still here").await;
        assert_eq!(event["depth"], DEPTH_MAX);
    }
    assert_eq!(here.bodies(room).await.len(), 3);
}

/// Mallory renames herself again and again, each time after the same event.
async fn fork(siege: &Siege, times: usize, depth: u64) {
    let target = mallory();
    let content = json!({ "membership": "join" });
    let start = siege.here.made(
        &siege.room,
        mallory(),
        "m.room.member",
        Some(target.as_str()),
        content,
    );
    let start = start.await;
    for n in 0..times {
        let content = json!({ "membership": "join", "displayname": format!("M{n}") });
        let made = Made {
            content,
            depth,
            ..start.clone()
        };
        siege.evil.send(&siege.here, &made).await.unwrap();
    }
}

#[tokio::test]
async fn forks_without_number_do_not_keep_a_ban_out_of_the_state() {
    let siege = Siege::start().await;
    let Siege {
        here, good, room, ..
    } = &siege;
    let ban = siege.ban().await;
    fork(&siege, EXTREMITIES_MAX + 5, 1_000).await;
    assert!(here.now(room).await.extremities.len() <= EXTREMITIES_MAX);
    good.send(here, &ban).await.unwrap();
    assert_eq!(here.membership(room, &mallory()).await, Membership::Ban);
    // An event of ours follows all forks, and the state stays.
    let forks = here.now(room).await.extremities.clone();
    let event = here.say(room, alice(), "joined").await;
    assert_eq!(event["prev_events"], json!(forks));
    assert_eq!(here.now(room).await.extremities.len(), 1);
    assert_eq!(here.membership(room, &mallory()).await, Membership::Ban);
}

#[tokio::test]
async fn one_servers_forks_do_not_crowd_out_anothers_event() {
    let siege = Siege::start().await;
    let Siege {
        here, good, room, ..
    } = &siege;
    let topic = json!({ "topic": "ours" });
    let topic = here
        .made(room, dora(), "m.room.topic", Some(""), topic)
        .await;
    let topic = Made { depth: 2, ..topic };
    let start = here.now(room).await.extremities.clone();
    let id = good.send(here, &topic).await.unwrap();
    let made = siege.mallory_says("fork").await;
    for n in 0..EXTREMITIES_MAX + 5 {
        let made = Made {
            prev: start.clone(),
            depth: DEPTH_MAX,
            content: text(&n.to_string()),
            ..made.clone()
        };
        siege.evil.send(here, &made).await.unwrap();
    }
    let now = here.now(room).await;
    assert_eq!(now.extremities.len(), EXTREMITIES_MAX);
    assert!(now.extremities.contains(&id));
}

/// Has Mallory send an event after one of Dora's that is not held yet, with a state of her own.
async fn overtake(siege: &Siege, late: &SignedPdu) -> OwnedEventId {
    let state: Vec<_> = siege
        .here
        .now(&siege.room)
        .await
        .state
        .values()
        .cloned()
        .collect();
    let answer = json!({ "auth_chain_ids": [], "pdu_ids": state });
    siege.evil.serve("/state_ids/", answer);
    let made = siege.mallory_says("first").await;
    let made = Made {
        prev: vec![late.pdu().event_id.clone()],
        depth: made.depth + 1,
        ..made
    };
    siege.evil.send(&siege.here, &made).await.unwrap()
}

#[tokio::test]
async fn an_event_that_comes_after_its_successor_is_no_newest_one() {
    let siege = Siege::start().await;
    let Siege {
        here, good, room, ..
    } = &siege;
    let made = here
        .made(room, dora(), "m.room.message", None, text("late"))
        .await;
    let late = good.sign(&*here.now(room).await, &made);
    let child = overtake(&siege, &late).await;
    good.give(here, room, &late).await.unwrap();
    assert_eq!(here.now(room).await.extremities, [child]);
    assert_eq!(here.bodies(room).await, ["first", "late"]);
}

#[tokio::test]
async fn a_ban_that_its_successors_sender_leaves_out_of_the_state_stands_all_the_same() {
    let siege = Siege::start().await;
    let Siege {
        here, good, room, ..
    } = &siege;
    let ban = good.sign(&*here.now(room).await, &siege.ban().await);
    let child = overtake(&siege, &ban).await;
    good.give(here, room, &ban).await.unwrap();
    assert_eq!(here.membership(room, &mallory()).await, Membership::Ban);
    let made = siege.mallory_says("on her own branch").await;
    let member = here.held(&child).await.unwrap().pdu.auth_events.clone();
    let made = Made {
        prev: vec![child],
        auth: member,
        ..made
    };
    siege.evil.send(here, &made).await.unwrap();
    assert_eq!(here.membership(room, &mallory()).await, Membership::Ban);
}
