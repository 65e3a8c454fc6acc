//! Defaults, creators, and which redactions take effect.

use ruma::events::StateEventType;
use serde_json::json;

use super::*;
use crate::{
    resolve::StateMap,
    testing::{ALICE, ALL_RULES, BOB, CAROL, TestRoom},
};

fn levels(room: &TestRoom, state: &StateMap<ruma::OwnedEventId>) -> PowerLevels {
    let at = |kind: &str| room.at(state, &StateEventType::from(kind), "");
    PowerLevels::new(
        &at("m.room.create").unwrap(),
        at("m.room.power_levels").as_ref(),
        &room.rules,
    )
    .unwrap()
}

fn user(user_id: &str) -> &UserId {
    user_id.try_into().unwrap()
}

#[test]
fn what_is_missing_has_its_default() {
    for rules in ALL_RULES {
        let (room, state) = TestRoom::with_bob(rules.clone());
        let levels = levels(&room, &state);
        let numbers = [levels.users_default, levels.events_default, levels.invite];
        assert_eq!(numbers, [Int::from(0_i32); 3]);
        let numbers = [
            levels.state_default,
            levels.redact,
            levels.kick,
            levels.ban,
            levels.notify_room,
        ];
        assert_eq!(numbers, [Int::from(50_i32); 5]);
        assert_eq!(
            levels.of_user(user(BOB)),
            UserPowerLevel::Int(50_i32.into())
        );
        assert_eq!(
            levels.of_user(user(CAROL)),
            UserPowerLevel::Int(0_i32.into())
        );
        assert!(levels.of_user(user(ALICE)) >= Int::from(100_i32));
        assert_eq!(
            levels.to_send(&"m.room.message".into(), false),
            Int::from(0_i32)
        );
        assert_eq!(
            levels.to_send(&"m.room.name".into(), true),
            Int::from(50_i32)
        );
    }
}

#[test]
fn before_the_first_levels_the_creator_has_a_hundred() {
    for rules in ALL_RULES {
        let (room, mut state) = TestRoom::with_bob(rules);
        state.remove(&("m.room.power_levels".into(), String::new()));
        let levels = levels(&room, &state);
        assert!(levels.of_user(user(ALICE)) >= Int::from(100_i32));
        assert_eq!(levels.of_user(user(BOB)), UserPowerLevel::Int(0_i32.into()));
    }
}

#[test]
fn malformed_levels_are_an_error() {
    let (room, state) = TestRoom::with_bob(ruma::room_version_rules::RoomVersionRules::V12);
    let create = room.at(&state, &"m.room.create".into(), "").unwrap();
    for content in [
        json!({ "users": { BOB: "50" } }),
        json!({ "redact": 0.5 }),
        json!({ "events": [] }),
    ] {
        let mut event = Pdu::clone(&room.at(&state, &"m.room.power_levels".into(), "").unwrap());
        event.content = crate::testing::raw(&content);
        assert!(
            PowerLevels::new(&create, Some(&Arc::new(event)), &room.rules).is_err(),
            "{content}"
        );
    }
}

#[test]
fn a_redaction_takes_effect_by_power_or_from_the_same_server() {
    for rules in ALL_RULES {
        let (mut room, mut state) = TestRoom::with_bob(rules);
        room.put(
            &mut state,
            CAROL,
            "m.room.member",
            Some(CAROL),
            json!({ "membership": "join" }),
        );
        let levels = levels(&room, &state);
        let target = Pdu::clone(
            room.build(
                &state,
                CAROL,
                "m.room.message",
                None,
                json!({ "body": "x" }),
            )
            .pdu(),
        );
        let redaction = |sender: &str| {
            let mut redaction = target.clone();
            redaction.kind = TimelineEventType::RoomRedaction;
            redaction.sender = sender.try_into().unwrap();
            redaction.redacts = Some(target.event_id.clone());
            redaction
        };
        assert!(levels.allows_redaction(&redaction(ALICE), &target));
        assert!(levels.allows_redaction(&redaction(BOB), &target));
        assert!(levels.allows_redaction(&redaction(CAROL), &target));
        assert!(levels.allows_redaction(&redaction("@colleague:three.example"), &target));
        assert!(!levels.allows_redaction(&redaction("@stranger:four.example"), &target));

        let mut of_another_event = redaction(ALICE);
        of_another_event.redacts = Some("$other".try_into().unwrap());
        assert!(!levels.allows_redaction(&of_another_event, &target));
        let mut in_another_room = redaction(ALICE);
        in_another_room.room_id = "!other:one.example".try_into().unwrap();
        assert!(!levels.allows_redaction(&in_another_room, &target));
    }
}

#[test]
fn push_rules_see_the_levels() {
    use ruma::power_levels::NotificationPowerLevelsKey::Room;
    for rules in ALL_RULES {
        let (room, state) = TestRoom::with_bob(rules);
        let context = levels(&room, &state).for_push();
        assert!(context.has_sender_notification_permission(user(ALICE), &Room));
        assert!(context.has_sender_notification_permission(user(BOB), &Room));
        assert!(!context.has_sender_notification_permission(user(CAROL), &Room));
    }
}
