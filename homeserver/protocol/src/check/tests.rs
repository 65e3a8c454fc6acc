//! Each verdict, and what is asked for.

use proptest::prelude::*;
use ruma::room_version_rules::RoomVersionRules;
use serde_json::json;

use super::*;
use crate::{
    resolve::StateMap,
    testing::{ALICE, ALL_RULES, BOB, CAROL, TestRoom},
};

fn judged(
    room: &TestRoom,
    pdu: &Pdu,
    before: &StateMap<OwnedEventId>,
    now: &StateMap<OwnedEventId>,
) -> Verdict {
    let fetch = |id: &EventId| room.get(id);
    judge(
        pdu,
        &room.rules,
        fetch,
        |kind, key| room.at(before, kind, key),
        |kind, key| room.at(now, kind, key),
    )
    .unwrap()
}

#[test]
fn every_event_of_an_honest_room_is_accepted() {
    for rules in &ALL_RULES {
        let (mut room, state) = TestRoom::with_bob(rules.clone());
        for event in room.events.values() {
            let mut before = state.clone();
            before.remove(&event.state_place().unwrap());
            // The first events precede the others: what they were authorised by is what they cite.
            if event.sender == BOB || *event.kind.to_string() == *"m.room.create" {
                assert_eq!(
                    judged(&room, event, &before, &before),
                    Verdict::Accepted,
                    "{:?}",
                    event.kind
                );
            }
        }
        let message = room.build(&state, BOB, "m.room.message", None, json!({ "body": "hi" }));
        assert_eq!(
            judged(&room, message.pdu(), &state, &state),
            Verdict::Accepted
        );
    }
}

#[test]
fn a_stranger_is_rejected() {
    let (mut room, state) = TestRoom::with_bob(RoomVersionRules::V12);
    let message = room.build(
        &state,
        CAROL,
        "m.room.message",
        None,
        json!({ "body": "hi" }),
    );
    assert!(matches!(
        judged(&room, message.pdu(), &state, &state),
        Verdict::Rejected(_)
    ));
}

#[test]
fn a_user_banned_since_is_soft_failed() {
    for rules in &ALL_RULES {
        let (mut room, before) = TestRoom::with_bob(rules.clone());
        let message = room.build(
            &before,
            BOB,
            "m.room.message",
            None,
            json!({ "body": "from an old branch" }),
        );
        let mut now = before.clone();
        room.put(
            &mut now,
            ALICE,
            "m.room.member",
            Some(BOB),
            json!({ "membership": "ban" }),
        );
        assert!(matches!(
            judged(&room, message.pdu(), &before, &now),
            Verdict::SoftFailed(_)
        ));
        assert!(matches!(
            judged(&room, message.pdu(), &now, &now),
            Verdict::Rejected(_)
        ));
    }
}

#[test]
fn an_event_that_cites_a_rejected_one_is_rejected() {
    let (mut room, mut state) = TestRoom::with_bob(RoomVersionRules::V11);
    let join = room.put(
        &mut state,
        CAROL,
        "m.room.member",
        Some(CAROL),
        json!({ "membership": "join" }),
    );
    let message = room.build(
        &state,
        CAROL,
        "m.room.message",
        None,
        json!({ "body": "hi" }),
    );
    assert_eq!(
        judged(&room, message.pdu(), &state, &state),
        Verdict::Accepted
    );
    let rejected = Pdu::clone(&join).into_rejected();
    room.events
        .insert(join.event_id.clone(), Arc::new(rejected));
    assert!(matches!(
        judged(&room, message.pdu(), &state, &state),
        Verdict::Rejected(_)
    ));
}

#[test]
fn missing_cited_events_are_named() {
    for rules in [RoomVersionRules::V11, RoomVersionRules::V12] {
        let (mut room, state) = TestRoom::with_bob(rules);
        let message = room.build(&state, BOB, "m.room.message", None, json!({ "body": "hi" }));
        let create = state[&("m.room.create".into(), String::new())].clone();
        room.events.remove(&create);
        let needs = check_auth_events(message.pdu(), &room.rules, |id| room.get(id)).unwrap_err();
        assert_eq!(needs.events, [create]);
    }
}

#[test]
fn odd_auth_events_are_rejected() {
    let (mut room, state) = TestRoom::with_bob(RoomVersionRules::V11);
    let message = Pdu::clone(
        room.build(&state, BOB, "m.room.message", None, json!({ "body": "hi" }))
            .pdu(),
    );
    let rejected = |pdu: &Pdu| matches!(judged(&room, pdu, &state, &state), Verdict::Rejected(_));
    assert!(!rejected(&message));

    let mut twice = message.clone();
    twice.auth_events.push(twice.auth_events[0].clone());
    assert!(rejected(&twice), "the same place twice");

    let mut unrelated = message.clone();
    unrelated
        .auth_events
        .push(state[&("m.room.join_rules".into(), String::new())].clone());
    assert!(
        rejected(&unrelated),
        "a place that the selection rules do not name"
    );

    let create = &state[&("m.room.create".into(), String::new())];
    let mut without_create = message.clone();
    without_create.auth_events.retain(|id| id != create);
    assert!(rejected(&without_create), "no create event");

    let mut elsewhere = message;
    elsewhere.room_id = "!other:one.example".try_into().unwrap();
    assert!(rejected(&elsewhere), "auth events of another room");
}

#[test]
fn a_room_of_v12_accepts_no_event_under_a_rejected_create_event() {
    let (mut room, state) = TestRoom::with_bob(RoomVersionRules::V12);
    let message = room.build(&state, BOB, "m.room.message", None, json!({ "body": "hi" }));
    let create = room.at(&state, &"m.room.create".into(), "").unwrap();
    room.events.insert(
        create.event_id.clone(),
        Arc::new(Pdu::clone(&create).into_rejected()),
    );
    assert!(matches!(
        judged(&room, message.pdu(), &state, &state),
        Verdict::Rejected(_)
    ));
}

#[test]
fn a_second_create_event_is_rejected() {
    for rules in [RoomVersionRules::V11, RoomVersionRules::V12] {
        let (mut room, state) = TestRoom::with_bob(rules);
        let second = room.build(
            &state,
            BOB,
            "m.room.create",
            Some(""),
            json!({ "room_version": "11" }),
        );
        assert!(matches!(
            judged(&room, second.pdu(), &state, &state),
            Verdict::Rejected(_)
        ));
    }
}

#[test]
fn extreme_power_levels_are_refused_without_a_panic() {
    let (mut room, state) = TestRoom::with_bob(RoomVersionRules::V12);
    for level in [
        json!(i64::MIN),
        json!(i64::MAX),
        json!("100"),
        json!(0.5),
        json!(null),
        json!({}),
    ] {
        let content = serde_json::value::to_raw_value(&json!({ "users": { BOB: level } })).unwrap();
        let legal = room.build(
            &state,
            BOB,
            "m.room.power_levels",
            Some(""),
            json!({ "users": { BOB: 1 } }),
        );
        let mut pdu = Pdu::clone(legal.pdu());
        pdu.content = content;
        assert!(matches!(
            judged(&room, &pdu, &state, &state),
            Verdict::Rejected(_)
        ));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Destroying the body of a message changes neither its identifier nor any verdict on it.
    #[test]
    fn a_stub_is_judged_as_the_message_was(
        version in 0..ALL_RULES.len(), sender in prop::sample::select(vec![ALICE, BOB, CAROL]),
        kind in prop::sample::select(vec!["m.room.message", "m.room.encrypted", "m.reaction", "m.room.redaction"]),
        is_banned in any::<bool>(), body in any::<String>(),
    ) {
        let (mut room, before) = TestRoom::with_bob(ALL_RULES[version].clone());
        let message = room.build(&before, sender, kind, None, json!({ "body": body, "ciphertext": "x" }));
        let stub = Pdu::from_json(
            message.pdu().event_id.clone(), &message.split(&room.rules).unwrap().skeleton, &room.rules).unwrap();
        let mut now = before.clone();
        if is_banned {
            room.put(&mut now, ALICE, "m.room.member", Some(BOB), json!({ "membership": "ban" }));
        }
        prop_assert_eq!(judged(&room, &stub, &before, &now), judged(&room, message.pdu(), &before, &now));
    }
}
