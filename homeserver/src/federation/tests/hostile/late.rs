//! Events that come after their sender was banned, that come again, that begin a room anew, or whose key had expired.

use super::*;

#[tokio::test]
async fn whoever_was_banned_says_nothing_from_an_old_branch() {
    for is_banned in [true, false] {
        let siege = Siege::start().await;
        let Siege {
            here,
            evil,
            good,
            room,
            ..
        } = &siege;
        let made = siege.mallory_says("as if from before").await;
        let event = evil.sign(&*here.now(room).await, &made);
        if is_banned {
            good.send(here, &siege.ban().await).await.unwrap();
        }
        let id = evil.give(here, room, &event).await.unwrap();
        let held = here.held(&id).await.unwrap();
        let is_newest = here.now(room).await.extremities.contains(&id);
        // The control is the same event without the ban.
        let (status, shown): (_, &[&str]) = match is_banned {
            true => (EventStatus::SoftFailed, &[]),
            false => (EventStatus::Accepted, &["as if from before"]),
        };
        assert_eq!((held.status, is_newest), (status, !is_banned));
        assert_eq!(here.bodies(room).await, shown);
    }
}

#[tokio::test]
async fn a_rejected_event_stays_rejected_when_a_state_offers_it_again() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let mut levels = here.state(room, "m.room.power_levels", "").await.unwrap();
    levels["users"][mallory().as_str()] = json!(100);
    let made = here.made(room, mallory(), "m.room.power_levels", Some(""), levels);
    let coup = evil.sign(&*here.now(room).await, &made.await);
    let id = coup.pdu().event_id.clone();
    let before = here.now(room).await;
    let true_levels = before.state_id(&StateEventType::RoomPowerLevels, "");
    let true_levels = true_levels.unwrap().to_owned();
    for way in ["first", "again", "state"] {
        if way == "state" {
            let state: Vec<_> = before
                .state
                .values()
                .map(|held| if *held == true_levels { &id } else { held })
                .collect();
            let answer = json!({ "auth_chain_ids": [id], "pdu_ids": state });
            evil.serve("/state_ids/", answer);
            let whole = json!({ "pdus": [wire(&coup)], "auth_chain": [] });
            evil.serve("/state/", whole);
            let made = Made {
                prev: vec!["$unknown".try_into().unwrap()],
                ..siege.mallory_says("offered").await
            };
            let _ = evil.send(here, &made).await;
        } else {
            let answer = evil.give(here, room, &coup).await;
            assert!(matches!(answer, Err(ReceiveError::Rejected)), "{answer:?}");
        }
        assert_eq!(here.held(&id).await.unwrap().status, EventStatus::Rejected);
        let now = here.now(room).await;
        let levels = now.state_id(&StateEventType::RoomPowerLevels, "");
        assert_eq!(levels, Some(&*true_levels), "{way}");
    }
    // The control: levels of Alice, who may set them, do become the room's.
    let levels = here.state(room, "m.room.power_levels", "").await.unwrap();
    here.put(room, "m.room.power_levels", "", levels).await;
    let now = here.now(room).await;
    let levels = now.state_id(&StateEventType::RoomPowerLevels, "");
    assert_ne!(levels, Some(&*true_levels));
}

#[tokio::test]
async fn a_room_begins_once() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let create = async || {
        let now = here.now(room).await;
        now.state_id(&StateEventType::RoomCreate, "")
            .unwrap()
            .to_owned()
    };
    let first = create().await;
    let content = json!({ "room_version": "11" });
    let made = here.made(room, mallory(), "m.room.create", Some(""), content);
    let after = made.await;
    let anew = Made {
        prev: Vec::new(),
        auth: Vec::new(),
        depth: 1,
        ..after.clone()
    };
    for second in [after, anew] {
        assert!(evil.send(here, &second).await.is_err());
        assert_eq!(create().await, first);
    }
    // The control: the sender may speak.
    let made = siege.mallory_says("hello").await;
    evil.send(here, &made).await.unwrap();
}

#[tokio::test]
async fn a_key_that_had_expired_signs_nothing() {
    const DAY_MS: i64 = 24 * 3600 * 1000;
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let made = siege.mallory_says("signed").await;
    for (days, is_taken) in [(8, false), (0, true)] {
        let ts = MockClock::START_MS + days * DAY_MS;
        let made = Made { ts, ..made.clone() };
        let answer = evil.send(here, &made).await;
        assert_eq!(answer.is_ok(), is_taken, "{answer:?}");
        if let Err(error) = answer {
            assert!(matches!(error, ReceiveError::Dropped(_)), "{error:?}");
        }
    }
    assert_eq!(here.bodies(room).await, ["signed"]);
}
