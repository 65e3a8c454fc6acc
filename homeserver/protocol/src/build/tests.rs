//! What is built, and what is refused.

use ruma::UInt;
use serde_json::json;

use super::*;
use crate::testing::{ALICE, BOB, TestRoom, key_pair, raw};

fn template(content: Box<RawJsonValue>) -> EventTemplate {
    EventTemplate {
        room_id: Some("!room:one.example".try_into().unwrap()),
        sender: ALICE.try_into().unwrap(),
        kind: "m.room.message".into(),
        state_key: None,
        content,
        redacts: None,
        origin_server_ts: MilliSecondsSinceUnixEpoch(UInt::from(5_u32)),
    }
}

fn tip() -> Tip {
    Tip {
        prev_events: vec!["$p".try_into().unwrap()],
        auth_events: vec!["$a".try_into().unwrap()],
        depth: 7,
    }
}

fn built(template: EventTemplate, rules: &RoomVersionRules) -> Result<SignedPdu, BuildError> {
    build(
        template,
        tip(),
        rules,
        "one.example".try_into().unwrap(),
        &key_pair(),
    )
}

#[test]
fn the_pdu_says_what_the_bytes_say() {
    for rules in [RoomVersionRules::V10, RoomVersionRules::V11] {
        let mut template = template(raw(&json!({ "b": 1, "a": { "y": 2, "x": "\u{1}" } })));
        template.kind = "m.room.redaction".into();
        template.redacts = Some("$target".try_into().unwrap());
        let signed = built(template, &rules).unwrap();
        let read = Pdu::from_json(signed.pdu().event_id.clone(), signed.json(), &rules).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", **signed.pdu()));
        assert_eq!(read.redacts.unwrap(), "$target");
    }
}

#[test]
fn the_redaction_target_goes_where_the_version_wants_it() {
    let with_target = || {
        let mut template = template(raw(&json!({ "reason": "spam" })));
        template.kind = "m.room.redaction".into();
        template.redacts = Some("$target".try_into().unwrap());
        template
    };
    let v10 = built(with_target(), &RoomVersionRules::V10).unwrap();
    assert_eq!(v10.object()["redacts"].as_str(), Some("$target"));
    assert_eq!(v10.pdu().content.get(), r#"{"reason":"spam"}"#);
    let v11 = built(with_target(), &RoomVersionRules::V11).unwrap();
    assert!(!v11.object().contains_key("redacts"));
    assert_eq!(
        v11.pdu().content.get(),
        r#"{"reason":"spam","redacts":"$target"}"#
    );
}

#[test]
fn content_that_cannot_be_canonical_is_refused() {
    let check = |text: &str, expect: JsonError| {
        let content = RawJsonValue::from_string(text.to_owned()).unwrap();
        assert_eq!(
            built(template(content), &RoomVersionRules::V12).unwrap_err(),
            BuildError::Content(expect)
        );
    };
    check(r#"{"a":0.5}"#, JsonError::Number);
    check(r#"{"a":1,"a":2}"#, JsonError::DuplicateKey);
    check("[]", JsonError::NotAnObject);
}

#[test]
fn the_size_is_bounded_to_the_byte() {
    let of = |fill: usize| {
        built(
            template(raw(&json!({ "body": "x".repeat(fill) }))),
            &RoomVersionRules::V12,
        )
    };
    let empty = of(0).unwrap().json().len();
    assert_eq!(
        of(PDU_BYTES_MAX - empty).unwrap().json().len(),
        PDU_BYTES_MAX
    );
    assert_eq!(
        of(PDU_BYTES_MAX - empty + 1).unwrap_err(),
        BuildError::TooLarge
    );
    assert_eq!(of(PDU_BYTES_MAX * 2).unwrap_err(), BuildError::TooLarge);
}

#[test]
fn an_overlong_state_key_is_a_format_error() {
    let mut template = template(raw(&json!({})));
    template.state_key = Some("k".repeat(256));
    assert!(matches!(
        built(template, &RoomVersionRules::V12),
        Err(BuildError::Format(_))
    ));
}

#[test]
fn the_room_of_v12_is_the_hash_of_its_create_event() {
    let (room, state) = TestRoom::with_bob(RoomVersionRules::V12);
    let create = room.at(&state, &"m.room.create".into(), "").unwrap();
    assert!(!create.room_id_in_event);
    assert_eq!(create.room_id.as_str()[1..], create.event_id.as_str()[1..]);
    let join = room.at(&state, &"m.room.member".into(), BOB).unwrap();
    assert!(!join.auth_events.contains(&create.event_id));
    assert_eq!(join.room_id, create.room_id);
}

#[test]
fn depth_grows_by_one_and_stops_at_the_greatest_integer() {
    assert_eq!(depth_after([]), 1);
    assert_eq!(depth_after([3, 9, 4]), 10);
    assert_eq!(depth_after([DEPTH_MAX]), DEPTH_MAX);
    assert_eq!(depth_after([u64::MAX]), DEPTH_MAX);
}
