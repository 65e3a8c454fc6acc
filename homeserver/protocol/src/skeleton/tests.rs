//! Splitting and joining, over every room version and kind of event.

use proptest::prelude::*;
use ruma::{CanonicalJsonValue, room_version_rules::RoomVersionRules};

use super::*;
use crate::{
    pdu::Pdu,
    signed::{RawPdu, event_id_of},
    testing::{ALICE, ALL_RULES, TestRoom, any_value, public_keys},
};

const KINDS: [&str; 9] = [
    "m.room.message",
    "m.room.encrypted",
    "m.room.member",
    "m.room.create",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.redaction",
    "m.room.aliases",
];

#[test]
fn an_encrypted_messages_body_is_its_content() {
    for rules in &ALL_RULES {
        let (mut room, state) = TestRoom::with_bob(rules.clone());
        let content =
            serde_json::json!({ "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "AwgA\"}{" });
        let event = room.build(&state, ALICE, "m.room.encrypted", None, content);
        let stored = event.split(rules).unwrap();
        assert_eq!(stored.body, event.pdu().content.get().as_bytes());
        let (offset, len) = stored.content_at.unwrap();
        assert_eq!(&stored.skeleton[offset as usize..][..len as usize], b"{}");
        assert!(!String::from_utf8_lossy(&stored.skeleton).contains("AwgA"));
        assert_eq!(stored.join(), event.json());
        assert_eq!(stored, split(event.object(), rules).unwrap());
    }
}

#[test]
fn a_skeleton_keeps_identifier_and_signatures() {
    for rules in &ALL_RULES {
        let (mut room, state) = TestRoom::with_bob(rules.clone());
        let event = room.build(
            &state,
            ALICE,
            "m.room.message",
            None,
            serde_json::json!({ "body": "x" }),
        );
        let stored = event.split(rules).unwrap();
        let raw = RawPdu::parse(&stored.skeleton)
            .unwrap()
            .check_format(rules)
            .unwrap();
        let stub = raw.verify(&public_keys(&["one.example"]), rules).unwrap();
        assert_eq!(stub.pdu().event_id, event.pdu().event_id);
        assert!(stub.redacted_by_hash());
        let stub_of_stub = stub.split(rules).unwrap();
        assert_eq!(
            (stub_of_stub.skeleton, stub_of_stub.body),
            (stored.skeleton, Vec::new())
        );
    }
}

#[test]
fn an_event_that_loses_other_keys_keeps_its_whole_self_as_body() {
    let rules = &RoomVersionRules::V10;
    let object = crate::json::parse_object(
        br#"{"type":"m.room.redaction","redacts":"$x","content":{},"hashes":{},"unsigned":{"age":1}}"#,
        1000,
    )
    .unwrap();
    let stored = split(&object, rules).unwrap();
    assert_eq!(stored.content_at, None);
    assert_eq!(
        stored.skeleton,
        br#"{"content":{},"hashes":{},"type":"m.room.redaction"}"#
    );
    assert_eq!(
        stored.join(),
        br#"{"content":{},"hashes":{},"redacts":"$x","type":"m.room.redaction"}"#
    );
}

#[test]
fn nothing_is_stored_twice_where_redaction_removes_nothing() {
    let rules = &RoomVersionRules::V11;
    let (room, state) = TestRoom::with_bob(rules.clone());
    let create = room.at(&state, &"m.room.create".into(), "").unwrap();
    assert_eq!(
        create.content.get(),
        r#"{"creator":"@alice:one.example","room_version":"11"}"#
    );
    let object = crate::json::parse_object(
        br#"{"type":"m.room.create","content":{"room_version":"11"}}"#,
        100,
    )
    .unwrap();
    let stored = split(&object, rules).unwrap();
    assert!(stored.body.is_empty());
    assert_eq!(stored.join(), stored.skeleton);
}

#[test]
fn a_damaged_place_gives_the_skeleton() {
    assert_eq!(join(b"{}", Some((1, 5)), b"x"), b"{}");
    assert_eq!(join(b"{}", Some((u32::MAX, u32::MAX)), b"x"), b"{}");
}

#[test]
fn reading_the_halves_is_reading_the_whole() {
    for rules in &ALL_RULES {
        let (mut room, state) = TestRoom::with_bob(rules.clone());
        let redaction = serde_json::json!({ "redacts": "$target", "reason": "x" });
        let event = room.build(&state, ALICE, "m.room.redaction", None, redaction);
        let message = room.build(
            &state,
            ALICE,
            "m.room.message",
            None,
            serde_json::json!({ "body": "x" }),
        );
        let levels = room.build(
            &state,
            ALICE,
            "m.room.power_levels",
            Some(""),
            serde_json::json!({ "x": 1, "ban": 5 }),
        );
        for event in [event, message, levels] {
            let stored = event.split(rules).unwrap();
            let id = || event.pdu().event_id.clone();
            let halves = Pdu::from_stored(
                id(),
                &stored.skeleton,
                stored.content_at,
                Some(&stored.body),
                rules,
            )
            .unwrap();
            assert_eq!(
                format!("{halves:?}"),
                format!("{:?}", Pdu::from_json(id(), event.json(), rules).unwrap())
            );
        }
    }
}

#[test]
fn a_stored_event_is_read_with_and_without_its_body() {
    let rules = &RoomVersionRules::V12;
    let (mut room, state) = TestRoom::with_bob(rules.clone());
    let event = room.build(
        &state,
        ALICE,
        "m.room.message",
        None,
        serde_json::json!({ "body": "x" }),
    );
    let stored = event.split(rules).unwrap();
    let read = |body| {
        Pdu::from_stored(
            event.pdu().event_id.clone(),
            &stored.skeleton,
            stored.content_at,
            body,
            rules,
        )
        .unwrap()
    };
    assert_eq!(read(Some(&stored.body)).content.get(), r#"{"body":"x"}"#);
    assert_eq!(read(None).content.get(), "{}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn joining_undoes_splitting(
        version in 0..ALL_RULES.len(),
        kind in 0..KINDS.len(),
        content in prop::collection::btree_map(
            "(membership|users|redacts|creator|aliases|third_party_invite|allow|join_rule|[a-z]{1,5})", any_value(), 0..6),
        others in prop::collection::btree_map(
            "(membership|origin|prev_state|redacts|depth|auth_events|[\\PC]{0,5})", any_value(), 0..4),
        has_unsigned in any::<bool>(),
    ) {
        let rules = &ALL_RULES[version];
        let mut full = others;
        full.remove("unsigned");
        full.insert("type".to_owned(), KINDS[kind].into());
        full.insert("content".to_owned(), CanonicalJsonValue::Object(content));
        full.insert("hashes".to_owned(), CanonicalJsonValue::Object(Default::default()));
        let expect = crate::json::to_canonical_bytes(&full).unwrap();
        let id = event_id_of(&full, rules).unwrap();
        if has_unsigned {
            full.insert("unsigned".to_owned(), CanonicalJsonValue::Null);
        }
        let stored = split(&full, rules).unwrap();
        prop_assert_eq!(stored.join(), expect);
        let skeleton = crate::json::parse_object(&stored.skeleton, 1 << 20).unwrap();
        prop_assert_eq!(event_id_of(&skeleton, rules).unwrap(), id);
        prop_assert!(stored.content_at.is_none() || !stored.body.is_empty());
    }
}
