//! The deadline rule by example, and its promise (never later) as properties.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::raw;

const T: u64 = 1_700_000_000_000;

fn facts(stamp: Option<Class>) -> Facts {
    Facts {
        origin_server_ts_ms: T,
        first_received_ms: T,
        stamp,
    }
}

#[test]
fn lifetimes_are_rounded_down_to_a_class() {
    let check =
        |ttl_ms: u64, expect: Class| assert_eq!(Class::round_down(ttl_ms), expect, "{ttl_ms}");
    check(0, Class::Seconds30);
    check(29_999, Class::Seconds30);
    check(30_000, Class::Seconds30);
    check(299_999, Class::Seconds30);
    check(300_000, Class::Minutes5);
    check(86_400_000, Class::Day1);
    check(u64::MAX, Class::Days28);
}

#[test]
fn stamps_are_read_and_odd_ones_are_none() {
    let stamp = |value: serde_json::Value| {
        stamp_of(&raw(&json!({ "org.passeur.expiry": value, "body": "x" })))
    };
    assert_eq!(stamp(json!({ "ttl_ms": 3_600_000 })), Some(Class::Hour1));
    assert_eq!(stamp(json!({ "ttl_ms": 1 })), Some(Class::Seconds30));
    assert_eq!(stamp(json!({ "ttl_ms": -1 })), Some(Class::Seconds30));
    for odd in [
        json!(5),
        json!(null),
        json!({ "ttl_ms": "1" }),
        json!({ "ttl_ms": 0.5 }),
        json!({}),
    ] {
        assert_eq!(stamp(odd), None);
    }
    assert_eq!(stamp_of(&raw(&json!({ "body": "x" }))), None);
    assert_eq!(
        to_device_ttl_of(&raw(&json!({ "org.passeur.ttl_ms": 300_000 }))),
        Some(Class::Minutes5)
    );
    assert_eq!(to_device_ttl_of(&raw(&json!({}))), None);
}

#[test]
fn a_message_without_stamp_in_a_room_without_policy_lives_for_ever() {
    assert_eq!(deadline(&facts(None), None, None), None);
}

#[test]
fn the_shortest_of_stamp_and_policies_wins() {
    let week = Policy {
        default: Class::Day1,
        ..Policy::uniform(Class::Days7)
    };
    let hour = Policy::uniform(Class::Hour1);
    let class = |stamp, at: Option<&Policy>, now: Option<&Policy>| {
        deadline(&facts(stamp), at, now).map(|d| d.class)
    };
    assert_eq!(class(None, Some(&week), Some(&week)), Some(Class::Day1));
    assert_eq!(
        class(Some(Class::Minutes5), Some(&week), Some(&week)),
        Some(Class::Minutes5)
    );
    assert_eq!(
        class(Some(Class::Days28), Some(&week), Some(&week)),
        Some(Class::Days7)
    );
    assert_eq!(
        class(Some(Class::Days28), Some(&week), Some(&hour)),
        Some(Class::Hour1)
    );
    assert_eq!(
        class(Some(Class::Days28), Some(&hour), Some(&week)),
        Some(Class::Hour1)
    );
    assert_eq!(
        class(Some(Class::Minutes5), None, None),
        Some(Class::Minutes5)
    );
}

#[test]
fn the_retroactive_bound_holds_for_events_of_another_policy_only() {
    let now = Policy {
        retroactive_max: Some(Class::Minutes5),
        ..Policy::uniform(Class::Days7)
    };
    let before = Policy::uniform(Class::Days7);
    let class = |at: Option<&Policy>| deadline(&facts(None), at, Some(&now)).unwrap().class;
    assert_eq!(class(Some(&now)), Class::Days7);
    assert_eq!(class(Some(&before)), Class::Minutes5);
    assert_eq!(class(None), Class::Minutes5);
}

#[test]
fn only_what_a_later_policy_shortened_is_held() {
    let week = Policy::uniform(Class::Days7);
    let hour = Policy::uniform(Class::Hour1);
    let held = deadline(&facts(None), Some(&week), Some(&hour)).unwrap();
    assert_eq!(
        (held.hide_at_ms, held.destroy_at_ms),
        (T + Class::Hour1.ttl_ms(), T + HOLD_MS)
    );
    let stamped = deadline(&facts(Some(Class::Hour1)), Some(&week), Some(&hour)).unwrap();
    assert_eq!(stamped.hide_at_ms, stamped.destroy_at_ms);
    // The hold never outlives the deadline that the event had by itself.
    let eight = deadline(&facts(Some(Class::Hours8)), Some(&week), Some(&hour)).unwrap();
    assert_eq!(eight.destroy_at_ms, T + Class::Hours8.ttl_ms());
}

#[test]
fn a_new_policy_hides_at_once_and_destroys_a_day_later() {
    let week = Policy::uniform(Class::Days7);
    let hour = Policy::uniform(Class::Hour1);
    let stored = deadline(&facts(None), Some(&week), Some(&week));
    let changed_ms = T + 2 * Class::Day1.ttl_ms();
    let shorter = shorten(stored, &facts(None), Some(&week), Some(&hour), changed_ms).unwrap();
    assert!(shorter.is_hidden(changed_ms));
    assert!(!shorter.is_over(changed_ms + HOLD_MS - 1));
    assert!(shorter.is_over(changed_ms + HOLD_MS));
    // Saying it again does not cut the hold short, and changing the policy back gives nothing back.
    assert_eq!(
        shorten(
            Some(shorter),
            &facts(None),
            Some(&week),
            Some(&hour),
            changed_ms + 1
        ),
        Some(shorter)
    );
    assert_eq!(
        shorten(
            Some(shorter),
            &facts(None),
            Some(&week),
            Some(&week),
            changed_ms + 1
        ),
        Some(shorter)
    );
    assert_eq!(
        shorten(
            Some(shorter),
            &facts(None),
            Some(&week),
            None,
            changed_ms + 1
        ),
        Some(shorter)
    );
}

#[test]
fn state_and_redactions_never_expire() {
    let pdu = |kind: &str, state_key: serde_json::Value| {
        let event = json!({
            "type": kind, "sender": "@a:x.example", "room_id": "!r:x.example", "origin_server_ts": 5, "depth": 2,
            "prev_events": [], "auth_events": [], "content": {}, "state_key": state_key,
        });
        let rules = ruma::room_version_rules::RoomVersionRules::V11;
        Pdu::from_json(
            "$e".try_into().unwrap(),
            event.to_string().as_bytes(),
            &rules,
        )
        .unwrap()
    };
    assert!(may_expire(&pdu("m.room.encrypted", json!(null))));
    assert!(may_expire(&pdu("m.reaction", json!(null))));
    assert!(!may_expire(&pdu("m.room.redaction", json!(null))));
    assert!(!may_expire(&pdu("m.room.topic", json!(""))));
}

#[test]
fn edits_reactions_and_answers_inherit_but_replies_do_not() {
    let from = |rel_type: &str| {
        inherits_from(&raw(
            &json!({ "m.relates_to": { "rel_type": rel_type, "event_id": "$target" } }),
        ))
    };
    for rel_type in ["m.replace", "m.annotation", "m.reference"] {
        assert_eq!(from(rel_type).unwrap(), "$target");
    }
    assert_eq!(from("m.thread"), None);
    assert_eq!(
        inherits_from(&raw(
            &json!({ "m.relates_to": { "m.in_reply_to": { "event_id": "$t" } } })
        )),
        None
    );
    assert_eq!(inherits_from(&raw(&json!({ "m.relates_to": 5 }))), None);
}

#[test]
fn policies_of_our_users_are_checked_and_those_of_others_tamed() {
    let check = |content: serde_json::Value| Policy::validate(&raw(&content)).map(drop);
    assert_eq!(
        check(json!({ "default_ms": 3_600_000, "max_ms": 86_400_000 })),
        Ok(())
    );
    assert_eq!(
        check(json!({ "default_ms": 3_600_001, "max_ms": 86_400_000 })),
        Err(PolicyError::NotAClass)
    );
    assert_eq!(
        check(json!({ "default_ms": 86_400_000, "max_ms": 3_600_000 })),
        Err(PolicyError::DefaultOverMax)
    );
    for malformed in [
        json!({}),
        json!({ "default_ms": -1, "max_ms": 30_000 }),
        json!({ "default_ms": "1", "max_ms": 1 }),
    ] {
        assert_eq!(check(malformed), Err(PolicyError::Malformed));
    }
    let tamed = Policy::parse(&raw(
        &json!({ "default_ms": 90_000_000, "max_ms": 4_000_000 }),
    ))
    .unwrap();
    assert_eq!((tamed.default, tamed.max), (Class::Hour1, Class::Hour1));
}

#[test]
fn a_policy_survives_its_own_writing_and_other_servers_learn_of_it() {
    let policy = Policy {
        default: Class::Hour1,
        max: Class::Days7,
        retroactive_max: Some(Class::Day1),
        after_read: true,
        view_once: true,
        stub_ttl_ms: Some(5),
        require_support: true,
    };
    assert_eq!(
        Policy::validate(&policy.to_content().unwrap()).unwrap(),
        policy
    );
    let retention = policy.to_retention().unwrap();
    assert_eq!(retention.get(), r#"{"max_lifetime":604800000}"#);
    assert_eq!(
        Policy::from_retention(&retention),
        Some(Policy::uniform(Class::Days7))
    );
    assert_eq!(
        Policy::from_retention(&raw(&json!({ "max_lifetime": 31_536_000_000_u64 }))),
        None
    );
    assert_eq!(
        Policy::of_room(Some(&policy.to_content().unwrap()), Some(&retention)),
        Some(policy)
    );
    assert_eq!(
        Policy::of_room(Some(&raw(&json!({}))), Some(&retention)),
        Some(Policy::uniform(Class::Days7))
    );
    assert_eq!(Policy::of_room(None, None), None);
}

#[test]
fn buckets_end_at_a_multiple_of_their_step_after_the_deadline() {
    let room_id = <&RoomId>::try_from("!r:x.example").unwrap();
    let d = deadline(&facts(Some(Class::Seconds30)), None, None).unwrap();
    let b = bucket(room_id, &d);
    assert_eq!(b.ends_at_ms % 3_000, 0);
    assert!(b.ends_at_ms >= d.destroy_at_ms && b.ends_at_ms < d.destroy_at_ms + 3_000);
    assert_eq!(Class::Days28.bucket_step_ms(), 3_600_000);
}

fn any_class() -> impl Strategy<Value = Class> {
    prop::sample::select(Class::ALL.to_vec())
}

fn any_policy() -> impl Strategy<Value = Option<Policy>> {
    let policy = (any_class(), any_class(), prop::option::of(any_class())).prop_map(
        |(a, b, retroactive_max)| Policy {
            default: a.min(b),
            retroactive_max,
            ..Policy::uniform(a.max(b))
        },
    );
    prop::option::of(policy)
}

fn any_facts() -> impl Strategy<Value = Facts> {
    (
        0..2 * T,
        T..T + 1_000_000_000,
        prop::option::of(any_class()),
    )
        .prop_map(|(origin_server_ts_ms, first_received_ms, stamp)| Facts {
            origin_server_ts_ms,
            first_received_ms,
            stamp,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_date_of_the_sender_extends_a_life(
        facts in any_facts(), at in any_policy(), now in any_policy(), skew_ms in 0_u64..172_800_000,
    ) {
        let honest = Facts { origin_server_ts_ms: facts.first_received_ms, ..facts };
        let future = Facts { origin_server_ts_ms: facts.first_received_ms + skew_ms, ..facts };
        let (d, h) = (deadline(&facts, at.as_ref(), now.as_ref()), deadline(&honest, at.as_ref(), now.as_ref()));
        prop_assert_eq!(d.is_some(), h.is_some());
        if let (Some(d), Some(h)) = (d, h) {
            prop_assert!(d.hide_at_ms <= h.hide_at_ms && d.destroy_at_ms <= h.destroy_at_ms);
            prop_assert_eq!(deadline(&future, at.as_ref(), now.as_ref()), Some(h));
        }
    }

    #[test]
    fn a_deadline_is_coherent_and_bounded(facts in any_facts(), at in any_policy(), now in any_policy()) {
        if let Some(d) = deadline(&facts, at.as_ref(), now.as_ref()) {
            prop_assert!(d.hide_at_ms <= d.destroy_at_ms);
            prop_assert!(d.hide_at_ms <= facts.first_received_ms + d.class.ttl_ms());
            prop_assert!(d.destroy_at_ms <= d.hide_at_ms.max(facts.first_received_ms + HOLD_MS));
            if let Some(stamp) = facts.stamp {
                // What the sender asked for is never held beyond it.
                prop_assert!(d.destroy_at_ms <= facts.origin_server_ts_ms.min(facts.first_received_ms) + stamp.ttl_ms());
            }
        }
    }

    #[test]
    fn no_history_of_policies_moves_a_deadline_later(
        facts in any_facts(), at in any_policy(), later in prop::collection::vec((any_policy(), 0_u64..90_000_000), 1..6),
    ) {
        let mut stored = deadline(&facts, at.as_ref(), at.as_ref());
        let mut now_ms = facts.first_received_ms;
        for (policy, passed_ms) in later {
            now_ms += passed_ms;
            let next = shorten(stored, &facts, at.as_ref(), policy.as_ref(), now_ms);
            if let Some(before) = stored {
                let after = next.unwrap();
                prop_assert!(after.hide_at_ms <= before.hide_at_ms);
                prop_assert!(after.destroy_at_ms <= before.destroy_at_ms);
                prop_assert!(after.hide_at_ms <= after.destroy_at_ms);
                prop_assert!(after.class <= before.class);
                // A policy destroys nothing within the hold that would have lived through it.
                prop_assert!(after.destroy_at_ms == before.destroy_at_ms || after.destroy_at_ms >= now_ms + HOLD_MS);
            }
            stored = next;
        }
    }

    #[test]
    fn a_relation_never_outlives_its_target(
        own in any_facts(), target in any_facts(), at in any_policy(), other in any_policy(),
    ) {
        let (own, target) = (deadline(&own, at.as_ref(), at.as_ref()), deadline(&target, other.as_ref(), other.as_ref()));
        let inherited = inherit(own, target);
        prop_assert_eq!(inherited.is_some(), own.is_some() || target.is_some());
        for parent in [own, target].into_iter().flatten() {
            prop_assert!(inherited.unwrap().hide_at_ms <= parent.hide_at_ms);
            prop_assert!(inherited.unwrap().destroy_at_ms <= parent.destroy_at_ms);
        }
    }
}
