//! Histories that never happened, and outliers that become part of one.

use passeur_protocol::signed::event_id_of;
use ruma::{CanonicalJsonValue, signatures::hash_and_sign_event};

use super::*;

/// Has Mallory name an event that is not held as the predecessor of one of hers: a gap.
async fn gap(siege: &Siege, before: &SignedPdu) {
    gap_before(siege, &before.pdu().event_id, before.pdu().depth).await;
}

async fn gap_before(siege: &Siege, id: &OwnedEventId, depth: u64) {
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
    let made = siege.mallory_says("after the gap").await;
    let made = Made {
        prev: vec![id.clone()],
        depth: depth + 1,
        ..made
    };
    siege.evil.send(&siege.here, &made).await.unwrap();
}

fn history(events: &[&SignedPdu]) -> Value {
    let pdus: Vec<_> = events.iter().map(|event| wire(event)).collect();
    json!({ "origin": "evil.example", "origin_server_ts": 1, "pdus": pdus })
}

impl Siege {
    async fn signed(&self, made: &Made) -> SignedPdu {
        self.evil.sign(&*self.here.now(&self.room).await, made)
    }

    async fn backfill(&self) -> bool {
        self.here.app.rooms.backfill(&self.room, 50).await.unwrap()
    }
}

#[tokio::test]
async fn history_of_somebody_who_was_never_there_is_not_taken() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let ghost = user("@ghost:evil.example");
    let content = json!({ "history_visibility": "world_readable" });
    let kind = "m.room.history_visibility";
    let forged = siege
        .signed(&here.made(room, ghost, kind, Some(""), content).await)
        .await;
    let honest = siege.mallory_says("true").await;
    let honest = Made {
        prev: vec![forged.pdu().event_id.clone()],
        depth: forged.pdu().depth + 1,
        ..honest
    };
    let honest = siege.signed(&honest).await;
    gap(&siege, &honest).await;
    evil.serve("/backfill/", history(&[&honest, &forged]));
    assert!(siege.backfill().await);
    let held = here.held(&forged.pdu().event_id).await.unwrap();
    assert_eq!(
        (held.status, held.room_order),
        (EventStatus::Rejected, None)
    );
    // The control: what follows it is part of the room, and was judged without it.
    assert_eq!(here.bodies(room).await, ["true", "after the gap"]);
    let held = here.held(&honest.pdu().event_id).await.unwrap();
    assert_eq!(held.status, EventStatus::Accepted);
    let before = here.app.store.state_at(held.state_before.unwrap()).await;
    assert!(
        !before
            .unwrap()
            .values()
            .any(|id| *id == forged.pdu().event_id)
    );
}

#[tokio::test]
async fn history_that_no_gap_leads_to_is_left_out() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let asked = siege.signed(&siege.mallory_says("asked for").await).await;
    let beside = siege.signed(&siege.mallory_says("beside it").await).await;
    gap(&siege, &asked).await;
    evil.serve("/backfill/", history(&[&beside, &asked]));
    assert!(siege.backfill().await);
    assert_eq!(here.bodies(room).await, ["asked for", "after the gap"]);
    assert!(here.held(&beside.pdu().event_id).await.is_none());
}

#[tokio::test]
async fn history_is_taken_in_the_order_of_the_graph_whatever_depths_say() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let first = Made {
        depth: 900,
        ..siege.mallory_says("first").await
    };
    let first = siege.signed(&first).await;
    let second = Made {
        depth: 3,
        prev: vec![first.pdu().event_id.clone()],
        ..siege.mallory_says("second").await
    };
    let second = siege.signed(&second).await;
    gap(&siege, &second).await;
    evil.serve("/backfill/", history(&[&first, &second]));
    assert!(siege.backfill().await);
    assert_eq!(
        here.bodies(room).await,
        ["first", "second", "after the gap"]
    );
}

#[tokio::test]
async fn a_gap_that_nobody_can_fill_is_given_up() {
    let siege = Siege::start().await;
    let Siege {
        here,
        evil,
        good,
        room,
        ..
    } = &siege;
    let unknown = siege.signed(&siege.mallory_says("made up").await).await;
    gap(&siege, &unknown).await;
    let gaps = async || here.app.store.missing_events(room).await.unwrap().len();
    // A server that cannot be asked may have it.
    evil.serve("/backfill/", history(&[]));
    assert!(!siege.backfill().await);
    assert_eq!(gaps().await, 1);
    good.serve("/backfill/", history(&[]));
    assert!(!siege.backfill().await);
    assert_eq!(gaps().await, 0);
}

#[tokio::test]
async fn a_redaction_that_came_first_reaches_what_comes_as_history() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let secret = siege.signed(&siege.mallory_says("secret").await).await;
    gap(&siege, &secret).await;
    let id = secret.pdu().event_id.clone();
    let made = here.made(room, mallory(), "m.room.redaction", None, json!({}));
    let made = Made {
        redacts: Some(id.clone()),
        ..made.await
    };
    evil.send(here, &made).await.unwrap();
    evil.serve("/backfill/", history(&[&secret]));
    assert!(siege.backfill().await);
    here.app.store.forget_events([&*id]);
    let held = here.held(&id).await.unwrap();
    assert!(!held.has_body() && held.redacted_by.is_some());
    assert_eq!(here.bodies(room).await, ["after the gap"]);
}

#[tokio::test]
async fn an_outlier_is_read_back_whole_in_whatever_form_it_came_first() {
    for (first_is_altered, then_is_altered) in [(true, false), (false, true)] {
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
        let form = |is_altered: bool| {
            let mut event = wire(&member);
            if is_altered {
                event["content"]["displayname"] = json!("Eve");
            }
            event
        };
        // What follows it and cites it comes first, so that it is fetched for its own sake.
        let old = here.now(room).await;
        let old = old.state_id(&StateEventType::RoomMember, who.as_str());
        let made = here
            .made(room, who.clone(), "m.room.message", None, text("hello"))
            .await;
        let auth = made.auth.iter().map(|auth| match Some(&**auth) == old {
            true => id.clone(),
            false => auth.clone(),
        });
        let made = Made {
            auth: auth.collect(),
            prev: vec![id.clone()],
            depth: made.depth + 1,
            ..made
        };
        let state: Vec<_> = here.now(room).await.state.values().cloned().collect();
        good.serve(
            "/event_auth/",
            json!({ "auth_chain": [form(first_is_altered)] }),
        );
        good.serve(
            "/state_ids/",
            json!({ "auth_chain_ids": [], "pdu_ids": state }),
        );
        good.send(here, &made).await.unwrap();
        assert_eq!(here.held(&id).await.unwrap().status, EventStatus::Outlier);

        let pdu = to_raw_value(&form(then_is_altered)).unwrap();
        let origin = good.keys.server_name();
        here.app.rooms.receive(origin, room, &pdu).await.unwrap();
        here.app.store.forget_events([&*id]);
        let held = here.held(&id).await.unwrap();
        assert_eq!(held.status, EventStatus::Accepted);
        assert!(
            held.pdu.content.get().contains("Dora"),
            "{}",
            held.pdu.content
        );
        here.say(room, alice(), "the room works").await;
    }
}

#[tokio::test]
async fn an_event_that_came_as_an_outlier_meanwhile_is_looked_at_again() {
    use crate::store::{LogKind, Moved, NewEvent, RoomAppend};
    let siege = Siege::start().await;
    let Siege { here, room, .. } = &siege;
    let now = here.now(room).await;
    let event = here.held(&now.extremities[0].clone()).await.unwrap();
    let mut row = now.row.clone();
    row.tip += 1;
    let append = RoomAppend {
        room_id: Some(room.clone()),
        expected_tip: Some(now.tip),
        room: Some(row),
        events: vec![NewEvent {
            event: Event::clone(&event),
            log: Some(LogKind::Event),
            relation: None,
            promoted: false,
        }],
        ..RoomAppend::default()
    };
    let committed = here.app.store.commit(append).await.unwrap();
    assert_eq!(committed.output, Err(Moved));
    here.app.rooms.forget_room(room);
    assert_eq!(here.now(room).await.row, now.row);
}

#[tokio::test]
async fn a_page_of_rejected_events_neither_shows_them_nor_keeps_paging_for_ever() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let ghost = user("@ghost:evil.example");
    let made = here
        .made(room, ghost, "m.room.message", None, text("forged"))
        .await;
    let mut page = vec![siege.signed(&siege.mallory_says("old").await).await];
    for _ in 0..3 {
        let before = page.last().unwrap().pdu();
        let forged = Made {
            prev: vec![before.event_id.clone()],
            depth: before.depth + 1,
            ..made.clone()
        };
        page.push(siege.signed(&forged).await);
    }
    let (old, forged) = page.split_first().unwrap();
    gap(&siege, forged.last().unwrap()).await;
    let forged: Vec<_> = forged.iter().rev().collect();
    evil.serve("/backfill/", history(&forged));
    siege.good.serve("/backfill/", history(&[]));
    let mut rounds = 0;
    while siege.backfill().await {
        rounds += 1;
        assert!(rounds < 10, "it has an end");
    }
    assert_eq!(here.bodies(room).await, ["after the gap"]);
    // The control: an honest page is shown.
    let honest = siege.signed(&siege.mallory_says("honest").await).await;
    gap(&siege, &honest).await;
    evil.serve("/backfill/", history(&[&honest, old]));
    assert!(siege.backfill().await);
    assert!(here.bodies(room).await.contains(&"honest".to_owned()));
}

#[tokio::test]
async fn history_may_cite_more_than_an_event_may_that_is_sent() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let rules = here.now(room).await.rules;
    let narrow = siege.signed(&siege.mallory_says("wide").await).await;
    let cited = (0..25).map(|n| CanonicalJsonValue::String(format!("$before{n}")));
    let cited = CanonicalJsonValue::Array(cited.collect());
    let mut wide = narrow.object().clone();
    wide.insert("prev_events".to_owned(), cited);
    wide.remove("hashes");
    wide.remove("signatures");
    let name = evil.keys.server_name().as_str();
    let key = evil.keys.key_pair();
    hash_and_sign_event(name, &**key, &mut wide, &rules.redaction).unwrap();
    let id = event_id_of(&wide, rules).unwrap();
    let wide = serde_json::to_value(&wide).unwrap();
    gap_before(&siege, &id, narrow.pdu().depth).await;
    // The control: as an event that is sent, it is none.
    let raw = to_raw_value(&wide).unwrap();
    let rooms = &here.app.rooms;
    let refused = rooms.receive(evil.keys.server_name(), room, &raw).await;
    assert!(
        matches!(refused, Err(ReceiveError::Dropped(_))),
        "{refused:?}"
    );
    let answer = json!({ "origin": "evil.example", "origin_server_ts": 1, "pdus": [wide] });
    evil.serve("/backfill/", answer);
    assert!(siege.backfill().await);
    assert_eq!(here.bodies(room).await, ["wide", "after the gap"]);
}

#[tokio::test]
async fn what_lies_before_a_rejected_event_is_told_and_that_event_is_not() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let first = siege.mallory_says("first").await;
    let first = evil.send(here, &first).await.unwrap();
    let levels = json!({ "users": { mallory().as_str(): 100 } });
    let kind = "m.room.power_levels";
    let coup = here.made(room, mallory(), kind, Some(""), levels).await;
    let depth = coup.depth;
    let coup = siege.signed(&coup).await;
    let refused = evil.give(here, room, &coup).await;
    assert!(
        matches!(refused, Err(ReceiveError::Rejected)),
        "{refused:?}"
    );
    let coup = coup.pdu().event_id.clone();
    let last = Made {
        prev: vec![coup.clone()],
        depth: depth + 1,
        ..siege.mallory_says("last").await
    };
    let last = evil.send(here, &last).await.unwrap();
    let (rooms, asking) = (&here.app.rooms, evil.keys.server_name());
    let from = std::slice::from_ref(&last);
    let told = rooms.backfill_for(asking, room, from, 100).await.unwrap();
    let rules = here.now(room).await.rules;
    let ids = told.iter().map(|event| {
        let event = serde_json::from_str(event.get()).unwrap();
        event_id_of(&event, rules).unwrap()
    });
    let told: Vec<OwnedEventId> = ids.collect();
    assert!(told.contains(&last) && told.contains(&first));
    assert!(!told.contains(&coup));
    // Before the first of all events there is no state.
    let now = here.now(room).await;
    let create = now.state_id(&StateEventType::RoomCreate, "").unwrap();
    let state = rooms.state_ids_for(asking, room, create).await.unwrap();
    assert_eq!(state, (Vec::new(), Vec::new()));
}
