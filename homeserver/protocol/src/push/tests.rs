//! The default rules by example, conditions one by one, and patterns that would hurt a naive matcher.

use std::collections::BTreeMap;

use ruma::{
    Int,
    power_levels::NotificationPowerLevels,
    room_version_rules::{AuthorizationRules, RoomPowerLevelsRules, RoomVersionRules},
};
use serde_json::json;

use super::*;
use crate::testing::{ALICE, BOB};

fn event(kind: &str, state_key: Option<&str>, content: JsonValue) -> Pdu {
    let mut event = json!({
        "type": kind, "sender": ALICE, "room_id": "!r:x.example", "origin_server_ts": 5, "depth": 2,
        "prev_events": [], "auth_events": [], "content": content,
    });
    if let Some(key) = state_key {
        event["state_key"] = json!(key);
    }
    Pdu::from_json(
        "$e".try_into().unwrap(),
        event.to_string().as_bytes(),
        &RoomVersionRules::V11,
    )
    .unwrap()
}

fn bob() -> &'static UserId {
    BOB.try_into().unwrap()
}

fn counted(ruleset: &Ruleset, pdu: &Pdu, joined_members: u32) -> (bool, bool) {
    let levels = PushConditionPowerLevelsCtx::new(
        BTreeMap::from([(ALICE.try_into().unwrap(), Int::from(100_i32))]),
        Int::from(0_i32),
        NotificationPowerLevels::new(),
        RoomPowerLevelsRules::new(&AuthorizationRules::V11, []),
    );
    let room = PushRoom {
        joined_members,
        power_levels: Some(&levels),
    };
    let user = PushUser {
        user_id: bob(),
        display_name: Some("Bob *"),
    };
    let count = count(ruleset, &PushEvent::new(pdu), &room, &user);
    (count.notify, count.highlight)
}

fn default_count(kind: &str, state_key: Option<&str>, content: JsonValue) -> (bool, bool) {
    counted(
        &Ruleset::server_default(bob()),
        &event(kind, state_key, content),
        3,
    )
}

/// A ruleset with one override rule of these conditions, which highlights.
fn rule(conditions: JsonValue) -> Ruleset {
    serde_json::from_value(json!({ "override": [{
        "rule_id": "mine", "default": false, "enabled": true, "conditions": conditions,
        "actions": ["notify", { "set_tweak": "highlight" }],
    }] }))
    .unwrap()
}

#[test]
fn the_default_rules_count_as_the_specification_says() {
    assert_eq!(
        default_count("m.room.encrypted", None, json!({ "ciphertext": "x" })),
        (true, false)
    );
    assert_eq!(
        default_count(
            "m.room.message",
            None,
            json!({ "body": "x", "msgtype": "m.text" })
        ),
        (true, false)
    );
    assert_eq!(
        default_count(
            "m.room.message",
            None,
            json!({ "body": "x", "msgtype": "m.notice" })
        ),
        (false, false)
    );
    assert_eq!(
        default_count("m.reaction", None, json!({ "m.relates_to": {} })),
        (false, false)
    );
    assert_eq!(
        default_count("m.room.topic", Some(""), json!({ "topic": "x" })),
        (false, false)
    );
    let invite = json!({ "membership": "invite" });
    assert_eq!(
        default_count("m.room.member", Some(BOB), invite.clone()),
        (true, false)
    );
    assert_eq!(
        default_count("m.room.member", Some("@eve:x.example"), invite),
        (false, false)
    );
    assert_eq!(
        default_count("m.room.tombstone", Some(""), json!({ "body": "x" })),
        (true, true)
    );
    let mention = json!({ "body": "x", "m.mentions": { "user_ids": ["@eve:x.example", BOB] } });
    assert_eq!(default_count("m.room.message", None, mention), (true, true));
    let room_mention = json!({ "body": "x", "m.mentions": { "room": true } });
    assert_eq!(
        default_count("m.room.message", None, room_mention),
        (true, true)
    );
    let edit =
        json!({ "body": "x", "m.relates_to": { "rel_type": "m.replace", "event_id": "$t" } });
    assert_eq!(default_count("m.room.message", None, edit), (false, false));
}

#[test]
fn nobody_is_notified_of_the_own_event_nor_with_the_master_rule_on() {
    let mut own = event("m.room.message", None, json!({ "body": "x" }));
    own.sender = BOB.try_into().unwrap();
    let mut rules = Ruleset::server_default(bob());
    assert_eq!(counted(&rules, &own, 3), (false, false));
    rules
        .set_enabled(ruma::push::RuleKind::Override, ".m.rule.master", true)
        .unwrap();
    assert_eq!(
        counted(
            &rules,
            &event("m.room.message", None, json!({ "body": "x" })),
            3
        ),
        (false, false)
    );
}

/// Whether a rule of this one condition applies to a message of this content is `expect`.
fn check(condition: JsonValue, content: JsonValue, expect: bool) {
    let pdu = event("m.room.message", None, content.clone());
    let counted = counted(&rule(json!([condition.clone()])), &pdu, 3);
    assert_eq!(counted, (expect, expect), "{condition} {content}");
}

#[test]
fn patterns_match_properties() {
    let check = |key: &str, pattern: &str, content: JsonValue, expect: bool| {
        check(
            json!({ "kind": "event_match", "key": key, "pattern": pattern }),
            content,
            expect,
        );
    };
    check("type", "M.ROOM.*", json!({}), true);
    check("sender", ALICE, json!({}), true);
    check("room_id", "!r:*", json!({}), true);
    check("state_key", "*", json!({}), false);
    check("content.body", "cake", json!({ "body": "CAKE!" }), true);
    check("content.body", "cake", json!({ "body": "pancake" }), false);
    check("content.x.y", "cake", json!({ "x": { "y": "cake" } }), true);
    check(
        "content.x.y",
        "cake",
        json!({ "x": { "y": "a cake" } }),
        false,
    );
    check(r"content.x\.y", "cake", json!({ "x.y": "cake" }), true);
    check(
        r"content.x\y.z",
        "cake",
        json!({ r"x\y": { "z": "cake" } }),
        true,
    );
    check("content.x", "5", json!({ "x": 5 }), false);
    check("content.x", "*", json!({}), false);
}

#[test]
fn properties_are_compared_with_their_type() {
    let is = |key: &str, value: JsonValue| json!({ "kind": "event_property_is", "key": key, "value": value });
    check(is("content.x", json!(5)), json!({ "x": 5 }), true);
    check(is("content.x", json!(true)), json!({ "x": 1 }), false);
    check(is("content.x", json!(null)), json!({ "x": null }), true);
    check(is("type", json!("m.room.message")), json!({}), true);
    check(is("sender", json!("A")), json!({}), false);
    let contains = |value: JsonValue| json!({ "kind": "event_property_contains", "key": "content.x", "value": value });
    check(contains(json!("b")), json!({ "x": ["a", "b"] }), true);
    check(contains(json!("b")), json!({ "x": "b" }), false);
}

#[test]
fn conditions_look_at_the_room_and_the_user() {
    let count = |is: &str| json!({ "kind": "room_member_count", "is": is });
    check(count("<4"), json!({}), true);
    check(count("2"), json!({}), false);
    check(
        json!({ "kind": "sender_notification_permission", "key": "room" }),
        json!({}),
        true,
    );
    let name = || json!({ "kind": "contains_display_name" });
    check(name(), json!({ "body": "hi bob *!" }), true);
    check(name(), json!({ "body": "hi bob there" }), false);
    check(json!({ "kind": "org.example.unknown" }), json!({}), false);
}

#[test]
fn rules_that_look_for_names_are_off_where_the_sender_says_whom_is_meant() {
    for (rule_id, applies) in [
        (".m.rule.contains_display_name", false),
        (".m.rule.roomnotif", false),
        ("mine", true),
    ] {
        let ruleset: Ruleset = serde_json::from_value(json!({ "override": [{
            "rule_id": rule_id, "default": true, "enabled": true, "actions": ["notify"],
            "conditions": [{ "kind": "event_match", "key": "content.body", "pattern": "bob" }],
        }] }))
        .unwrap();
        let message = |content| counted(&ruleset, &event("m.room.message", None, content), 3);
        assert_eq!(message(json!({ "body": "bob" })), (true, false));
        assert_eq!(
            message(json!({ "body": "bob", "m.mentions": {} })),
            (applies, false),
            "{rule_id}"
        );
    }
}

#[test]
fn rules_of_the_other_kinds_apply() {
    let ruleset = |kind: &str, rule: JsonValue| -> Ruleset {
        let mut rule = rule;
        rule["default"] = json!(false);
        rule["enabled"] = json!(true);
        rule["actions"] = json!(["notify"]);
        serde_json::from_value(json!({ kind: [rule] })).unwrap()
    };
    let message = event("m.room.message", None, json!({ "body": "some cake" }));
    let check = |kind: &str, rule: JsonValue, expect: bool| {
        assert_eq!(
            counted(&ruleset(kind, rule.clone()), &message, 3),
            (expect, false),
            "{kind} {rule}"
        );
    };
    check(
        "content",
        json!({ "rule_id": "c", "pattern": "cake" }),
        true,
    );
    check(
        "content",
        json!({ "rule_id": "c", "pattern": "pie" }),
        false,
    );
    check("room", json!({ "rule_id": "!r:x.example" }), true);
    check("room", json!({ "rule_id": "!other:x.example" }), false);
    check("sender", json!({ "rule_id": ALICE }), true);
    check("sender", json!({ "rule_id": BOB }), false);
}

#[test]
fn hostile_patterns_and_bodies_neither_panic_nor_match() {
    let body = "xa ".repeat(20_000);
    for pattern in [
        "?".repeat(10_000),
        "a*".repeat(127) + "b",
        "a".to_owned(),
        "*".repeat(10_000) + "b",
    ] {
        let conditions =
            json!([{ "kind": "event_match", "key": "content.body", "pattern": pattern }]);
        let message = event("m.room.message", None, json!({ "body": body }));
        assert_eq!(counted(&rule(conditions), &message, 3), (false, false));
    }
    assert!(is_usable_pattern("cake*"));
    assert!(!is_usable_pattern(&"?".repeat(10_000)));
    let conditions = (0..100)
        .map(|_| json!({ "kind": "room_member_count", "is": ">0" }))
        .collect::<Vec<_>>();
    assert_eq!(
        counted(&rule(json!(conditions)), &event("m.x", None, json!({})), 3),
        (false, false)
    );
}
