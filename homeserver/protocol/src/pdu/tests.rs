//! What is read of an event, and where each room version keeps the target of a redaction.

use serde_json::json;

use super::*;

fn parse(value: serde_json::Value, rules: &RoomVersionRules) -> Result<Pdu, Reason> {
    Pdu::from_json(
        "$event".try_into().unwrap(),
        value.to_string().as_bytes(),
        rules,
    )
}

fn redaction(top_level: serde_json::Value, content: serde_json::Value) -> serde_json::Value {
    json!({
        "type": "m.room.redaction", "sender": "@a:x.example", "room_id": "!r:x.example", "origin_server_ts": 5,
        "depth": 2, "prev_events": ["$p"], "auth_events": ["$c"], "redacts": top_level, "content": content,
    })
}

#[test]
fn the_target_of_a_redaction_is_where_the_room_version_keeps_it() {
    let event = redaction(json!("$top"), json!({ "redacts": "$content" }));
    let target = |rules| parse(event.clone(), rules).unwrap().redacts.unwrap();
    assert_eq!(target(&RoomVersionRules::V10), "$top");
    assert_eq!(target(&RoomVersionRules::V11), "$content");
    assert_eq!(target(&RoomVersionRules::V12), "$content");
}

#[test]
fn an_odd_target_redacts_nothing() {
    for odd in [json!(5), json!(null), json!("no sigil"), json!(["$a"])] {
        let event = redaction(odd.clone(), json!({ "redacts": odd }));
        for rules in [RoomVersionRules::V10, RoomVersionRules::V11] {
            assert_eq!(parse(event.clone(), &rules).unwrap().redacts, None);
        }
    }
}

#[test]
fn only_redactions_have_a_target() {
    let mut event = redaction(json!("$top"), json!({ "redacts": "$content" }));
    event["type"] = json!("m.room.message");
    assert_eq!(
        parse(event.clone(), &RoomVersionRules::V10)
            .unwrap()
            .redacts,
        None
    );
    assert_eq!(parse(event, &RoomVersionRules::V11).unwrap().redacts, None);
}

#[test]
fn only_the_create_event_of_v12_may_leave_out_its_room() {
    let mut event = redaction(json!(null), json!({}));
    event.as_object_mut().unwrap().remove("room_id");
    assert!(parse(event.clone(), &RoomVersionRules::V12).is_err());
    event["type"] = json!("m.room.create");
    event["state_key"] = json!("");
    assert!(parse(event.clone(), &RoomVersionRules::V11).is_err());
    let create = parse(event, &RoomVersionRules::V12).unwrap();
    assert_eq!(create.room_id, "!event");
    assert_eq!(ruma::state_res::Event::room_id(&create), None);
    assert_eq!(
        create_of_room_id(&create.room_id, &RoomVersionRules::V12).unwrap(),
        "$event"
    );
    assert_eq!(
        create_of_room_id(&create.room_id, &RoomVersionRules::V11),
        None
    );
}

#[test]
fn a_reason_prints_no_identifier() {
    let mut event = redaction(json!(null), json!({}));
    event["sender"] = json!("secret-name");
    let reason = parse(event, &RoomVersionRules::V11).unwrap_err();
    assert_eq!(reason.to_string(), "event format");
    assert!(!format!("{reason:?}").contains("secret"));
}
