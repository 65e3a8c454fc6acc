//! Format, signature and hash checks, each broken singly.

use proptest::prelude::*;
use ruma::room_version_rules::RoomVersionRules;
use serde_json::json;

use super::*;
use crate::testing::{ALICE, ALL_RULES, BOB, TestRoom, key_pair, public_keys, vector_key_pair};

/// A message of Alice in a room of these rules.
fn message(rules: &RoomVersionRules) -> SignedPdu {
    let (mut room, state) = TestRoom::with_bob(rules.clone());
    room.build(
        &state,
        ALICE,
        "m.room.message",
        None,
        json!({ "body": "hello", "msgtype": "m.text" }),
    )
}

fn receive(object: CanonicalJsonObject, rules: &RoomVersionRules) -> Result<SignedPdu, Reason> {
    RawPdu::from_object(object)
        .check_format(rules)?
        .verify(&public_keys(&["one.example", "two.example"]), rules)
}

fn value(json: serde_json::Value) -> CanonicalJsonValue {
    json.try_into().unwrap()
}

/// <https://spec.matrix.org/v1.19/appendices/#event-signing>
#[test]
fn the_specifications_event_verifies_and_signs_to_the_same_bytes() {
    let rules = &RoomVersionRules::V10;
    let key_pair = vector_key_pair();
    let key = ruma::serde::Base64::new(key_pair.public_key().to_vec());
    let keys = PublicKeyMap::from([(
        "domain".to_owned(),
        BTreeMap::from([("ed25519:1".to_owned(), key)]),
    )]);
    let mut event = json!({
        "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1_000_000,
        "hashes": { "sha256": "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos" }, "type": "X", "content": {},
        "prev_events": [], "auth_events": [], "depth": 3, "unsigned": { "age_ts": 1_000_000 },
        "signatures": { "domain": {
            "ed25519:1":
                "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        } },
    });
    let raw = RawPdu::parse(event.to_string().as_bytes()).unwrap();
    let verified = raw
        .check_format(rules)
        .unwrap()
        .verify(&keys, rules)
        .unwrap();
    assert!(!verified.redacted_by_hash());
    let signed = verified
        .clone()
        .co_sign("domain".try_into().unwrap(), &key_pair, rules)
        .unwrap();
    assert_eq!(signed.json(), verified.json());
    event.as_object_mut().unwrap().remove("unsigned");
    assert_eq!(
        String::from_utf8_lossy(signed.json()),
        value(event).to_string()
    );
}

#[test]
fn what_we_build_a_peer_accepts_with_the_same_identifier() {
    for rules in &ALL_RULES {
        let ours = message(rules);
        let theirs = RawPdu::parse(ours.json())
            .unwrap()
            .check_format(rules)
            .unwrap();
        let keys = theirs.required_keys(rules).unwrap();
        assert_eq!(
            keys.servers
                .keys()
                .map(|server| server.as_str())
                .collect::<Vec<_>>(),
            ["one.example"]
        );
        assert_eq!(keys.valid_at, Some(ours.pdu().origin_server_ts));
        let theirs = theirs
            .verify(&public_keys(&["one.example"]), rules)
            .unwrap();
        assert!(!theirs.redacted_by_hash());
        assert_eq!(theirs.pdu().event_id, ours.pdu().event_id);
        assert_eq!(theirs.pdu().content.get(), ours.pdu().content.get());
        assert_eq!(theirs.json(), ours.json());
    }
}

#[test]
fn changed_content_comes_out_redacted_under_the_same_identifier() {
    for rules in &ALL_RULES {
        let ours = message(rules);
        let mut object = ours.object().clone();
        object.insert("content".to_owned(), value(json!({ "body": "forged" })));
        let theirs = receive(object, rules).unwrap();
        assert!(theirs.redacted_by_hash());
        assert_eq!(theirs.pdu().event_id, ours.pdu().event_id);
        assert_eq!(theirs.pdu().content.get(), "{}");
        assert!(!String::from_utf8_lossy(theirs.json()).contains("forged"));
    }
}

#[test]
fn a_change_that_the_signature_covers_is_refused() {
    let rules = &RoomVersionRules::V12;
    for (key, changed) in [
        ("sender", json!("@mallory:one.example")),
        ("type", json!("m.room.other")),
        ("depth", json!(1)),
        ("origin_server_ts", json!(1)),
        ("state_key", json!("")),
        ("prev_events", json!([])),
        (
            "hashes",
            json!({ "sha256": "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos" }),
        ),
    ] {
        let mut object = message(rules).object().clone();
        object.insert(key.to_owned(), value(changed));
        assert_eq!(
            receive(object, rules).unwrap_err().check(),
            SIGNATURES,
            "{key}"
        );
    }
}

#[test]
fn a_missing_signature_or_an_unknown_key_is_refused() {
    let rules = &RoomVersionRules::V12;
    let mut object = message(rules).object().clone();
    object.insert(
        "signatures".to_owned(),
        value(json!({ "two.example": { "ed25519:1": "AAAA" } })),
    );
    let formatted = RawPdu::from_object(object).check_format(rules).unwrap();
    assert!(formatted.required_keys(rules).is_err());
    assert!(
        formatted
            .verify(&public_keys(&["one.example", "two.example"]), rules)
            .is_err()
    );

    let formatted = RawPdu::from_object(message(rules).object().clone())
        .check_format(rules)
        .unwrap();
    assert!(
        formatted
            .clone()
            .verify(&public_keys(&["two.example"]), rules)
            .is_err()
    );
    assert!(
        formatted
            .verify(
                &PublicKeyMap::from([("one.example".to_owned(), Default::default())]),
                rules
            )
            .is_err()
    );
}

#[test]
fn malformed_events_are_refused_by_the_format_check() {
    let rules = &RoomVersionRules::V11;
    let long = "x".repeat(256);
    for (key, changed) in [
        ("type", json!(5)),
        ("type", json!(long)),
        ("type", json!("a\u{0}b")),
        ("state_key", json!(long)),
        ("state_key", json!(null)),
        ("state_key", json!("\u{0}")),
        ("sender", json!("alice")),
        ("room_id", json!("room")),
        ("content", json!([])),
        ("hashes", json!(null)),
        ("signatures", json!("x")),
        ("depth", json!(-1)),
        ("depth", json!("1")),
        ("origin_server_ts", json!(-1)),
        ("origin_server_ts", json!("1")),
        ("prev_events", json!(vec!["$a"; 21])),
        ("prev_events", json!([["$a", {}]])),
        ("prev_events", json!(["a"])),
        ("auth_events", json!(vec!["$a"; 11])),
        ("auth_events", json!({})),
    ] {
        let mut object = message(rules).object().clone();
        object.insert(key.to_owned(), value(changed.clone()));
        let refused = RawPdu::from_object(object).check_format(rules);
        assert_eq!(refused.unwrap_err().check(), FORMAT, "{key} {changed}");
    }
    for key in [
        "type",
        "sender",
        "room_id",
        "content",
        "hashes",
        "signatures",
        "depth",
        "prev_events",
        "auth_events",
    ] {
        let mut object = message(rules).object().clone();
        object.remove(key);
        assert_eq!(
            RawPdu::from_object(object)
                .check_format(rules)
                .unwrap_err()
                .check(),
            FORMAT,
            "{key}"
        );
    }
}

#[test]
fn the_size_is_bounded_to_the_byte_and_unsigned_does_not_count() {
    let rules = &RoomVersionRules::V12;
    let fill = |bytes: usize| {
        let mut object = message(rules).object().clone();
        object.insert("fill".to_owned(), "".into());
        let rest = json::to_canonical_bytes(&object).unwrap().len();
        object.insert("fill".to_owned(), "x".repeat(bytes - rest).into());
        object.insert("unsigned".to_owned(), value(json!({ "age": 5 })));
        RawPdu::from_object(object).check_format(rules)
    };
    assert!(fill(PDU_BYTES_MAX).is_ok());
    assert!(fill(PDU_BYTES_MAX + 1).is_err());
}

#[test]
fn the_room_and_its_version_are_found_before_the_rules() {
    let (mut room, state) = TestRoom::with_bob(RoomVersionRules::V12);
    let create = room.at(&state, &"m.room.create".into(), "").unwrap();
    let message = room.build(&state, BOB, "m.room.message", None, json!({ "body": "x" }));
    let raw = RawPdu::parse(message.json()).unwrap();
    assert_eq!(raw.room_id(), Some(&*create.room_id));
    assert_eq!(raw.created_version(), None);

    let bare = json!({ "type": "m.room.create", "content": { "room_version": "12" } });
    let raw = RawPdu::parse(bare.to_string().as_bytes()).unwrap();
    assert_eq!(
        (raw.room_id(), raw.created_version()),
        (None, Some(ruma::RoomVersionId::V12))
    );
}

#[test]
fn a_second_signature_leaves_the_identifier() {
    let rules = &RoomVersionRules::V12;
    let once = message(rules);
    let twice = once
        .clone()
        .co_sign("two.example".try_into().unwrap(), &key_pair(), rules)
        .unwrap();
    assert_eq!(
        event_id_of(twice.object(), rules).unwrap(),
        once.pdu().event_id
    );
    assert_eq!(twice.object()["signatures"].as_object().unwrap().len(), 2);
    assert!(receive(twice.object().clone(), rules).is_ok());
}

#[test]
fn of_a_signed_copy_only_the_signatures_are_taken() {
    let rules = &RoomVersionRules::V12;
    let ours = message(rules);
    let two = <&ServerName>::try_from("two.example").unwrap();
    let copy = ours.clone().co_sign(two, &key_pair(), rules).unwrap();
    let mut object = copy.object().clone();
    object.insert("content".to_owned(), value(json!({ "body": "forged" })));
    let merged = ours
        .clone()
        .with_signatures_of(&RawPdu::from_object(object.clone()), two, rules)
        .unwrap();
    assert_eq!(merged.json(), copy.json());
    assert_eq!(merged.split(rules).unwrap().join(), copy.json());

    let forged = value(json!({ "one.example": { "ed25519:1": "AAAA", "ed25519:2": "BBBB" } }));
    object.insert("signatures".to_owned(), forged);
    let copy = RawPdu::from_object(object.clone());
    assert!(
        ours.clone().with_signatures_of(&copy, two, rules).is_err(),
        "not signed by that server"
    );
    let merged = ours
        .clone()
        .with_signatures_of(&copy, "one.example".try_into().unwrap(), rules)
        .unwrap();
    assert!(
        receive(merged.object().clone(), rules).is_ok(),
        "the signature that was there stays"
    );
    object.insert("depth".to_owned(), value(json!(999)));
    let other = RawPdu::from_object(object);
    assert!(
        ours.with_signatures_of(&other, "one.example".try_into().unwrap(), rules)
            .is_err(),
        "another event"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_object_panics(
        object in prop::collection::btree_map("(type|sender|content|depth|hashes|[a-z_]{1,8})", crate::testing::any_value(), 0..9)
    ) {
        for rules in [RoomVersionRules::V10, RoomVersionRules::V12] {
            let raw = RawPdu::from_object(object.clone());
            let _ = (raw.room_id(), raw.created_version());
            prop_assert!(raw.check_format(&rules).is_err());
        }
    }
}
