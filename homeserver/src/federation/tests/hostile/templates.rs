//! Templates by which another server would have us sign what our user did not ask for.

use super::*;

/// What evil.example is asked to take in after it offered Carol a template for a membership: events with our signature.
async fn signed_after(verb: &str, event: &Value) -> Vec<Value> {
    let siege = Siege::start().await;
    let Siege { here, evil, .. } = &siege;
    let template = json!({ "room_version": "11", "event": event });
    evil.serve(&format!("/make_{verb}/"), template);
    let (room, carol) = (den(), user("@carol:one.example"));
    let via = vec![evil.keys.server_name().to_owned()];
    let rooms = &here.app.rooms;
    let entered = match verb {
        "join" => rooms.join(&room, &carol, None, via).await,
        _ => rooms.knock(&room, &carol, None, via).await,
    };
    assert!(entered.is_err(), "nobody answered what was signed");
    evil.heard(&format!("/send_{verb}/"))
}

fn den() -> OwnedRoomId {
    "!den:evil.example".try_into().unwrap()
}

fn honest(membership: &str) -> Value {
    json!({
        "type": "m.room.member", "room_id": den(), "sender": "@carol:one.example",
        "state_key": "@carol:one.example", "content": { "membership": membership },
        "depth": 7, "prev_events": ["$before"], "auth_events": ["$create"],
        "origin": "evil.example", "origin_server_ts": 5,
    })
}

#[tokio::test]
async fn a_template_for_anything_else_is_not_signed() {
    for verb in ["join", "knock"] {
        for (key, value) in [
            ("type", json!("m.room.power_levels")),
            ("room_id", json!("!other:one.example")),
            ("sender", json!("@alice:one.example")),
            ("state_key", json!("@mallory:evil.example")),
            ("content", json!({ "membership": "ban" })),
            ("content", json!({ "membership": "leave" })),
            ("prev_events", json!([5])),
            ("depth", json!("7")),
        ] {
            let mut event = honest(verb);
            event[key] = value;
            let signed = signed_after(verb, &event).await;
            assert!(signed.is_empty(), "{verb} {key}: {signed:?}");
        }
    }
}

#[tokio::test]
async fn of_an_honest_template_the_place_is_signed_and_nothing_more() {
    for verb in ["join", "knock"] {
        let mut event = honest(verb);
        event["content"]["org.example.oath"] = json!("I owe Mallory everything");
        event["content"]["displayname"] = json!("Mallory's");
        event["org.example.oath"] = json!(true);
        event["redacts"] = json!("$something");
        event["unsigned"] = json!({ "a": 1 });
        let signed = signed_after(verb, &event).await;
        let [signed] = &signed[..] else {
            panic!("one is signed: {signed:?}");
        };
        assert!(signed["signatures"]["one.example"].is_object());
        let text = signed.to_string();
        for foreign in ["oath", "Mallory", "redacts", "unsigned"] {
            assert!(!text.contains(foreign), "{text}");
        }
        assert_eq!(signed["content"]["membership"], verb);
        assert_eq!(signed["origin_server_ts"], MockClock::START_MS);
        assert_eq!(signed["prev_events"], json!(["$before"]));
    }
}

#[tokio::test]
async fn of_a_room_that_was_knocked_on_only_what_holds_is_shown() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let template = json!({ "room_version": "11", "event": honest("knock") });
    evil.serve("/make_knock/", template);
    let now = here.now(room).await;
    let state = |room: &OwnedRoomId, kind: &str, content: Value| Made {
        room: room.clone(),
        sender: mallory(),
        kind: kind.to_owned(),
        state_key: Some(String::new()),
        content,
        redacts: None,
        prev: Vec::new(),
        auth: Vec::new(),
        depth: 1,
        ts: MockClock::START_MS,
    };
    let den = den();
    let good = wire(&evil.sign(
        &now,
        &state(&den, "m.room.topic", json!({ "topic": "True" })),
    ));
    let named = state(&den, "m.room.name", json!({ "name": "Unsigned" }));
    let mut forged = wire(&evil.sign(&now, &named));
    let signature = "A".repeat(86);
    forged["signatures"]["evil.example"]["ed25519:peer"] = json!(signature);
    let content = json!({ "url": "mxc://evil.example/elsewhere" });
    let foreign = wire(&evil.sign(&now, &state(room, "m.room.avatar", content)));
    let bare = json!({
        "type": "m.room.join_rules", "state_key": "", "sender": mallory(),
        "content": { "join_rule": "knock" },
    });
    let shown = json!({ "knock_room_state": [good, forged, foreign, bare] });
    evil.serve("/send_knock/", shown);
    let carol = user("@carol:one.example");
    let via = vec![evil.keys.server_name().to_owned()];
    here.app.rooms.knock(&den, &carol, None, via).await.unwrap();
    let rooms = here.app.rooms.memberships(&carol).await.unwrap();
    let shown = rooms[&den].stripped_state.clone().unwrap();
    assert!(shown.contains("True"), "{shown}");
    assert!(shown.contains("m.room.join_rules"), "{shown}");
    assert!(!shown.contains("Unsigned"), "{shown}");
    assert!(!shown.contains("elsewhere"), "{shown}");
}

/// What becomes of Carol's join of a room of version 11 whose create event says `version`.
async fn join_of(version: &str) -> Result<(), crate::rooms::JoinError> {
    let siege = Siege::start().await;
    let Siege { here, evil, .. } = &siege;
    let now = here.now(&siege.room).await;
    let (room, mallory) = (den(), mallory());
    let mut events: Vec<Value> = Vec::new();
    let mut ids: Vec<OwnedEventId> = Vec::new();
    for (kind, key, content) in [
        ("m.room.create", "", json!({ "room_version": version })),
        (
            "m.room.member",
            mallory.as_str(),
            json!({ "membership": "join" }),
        ),
        ("m.room.join_rules", "", json!({ "join_rule": "public" })),
    ] {
        let made = Made {
            room: room.clone(),
            sender: mallory.clone(),
            kind: kind.to_owned(),
            state_key: Some(key.to_owned()),
            content,
            redacts: None,
            prev: ids.last().cloned().into_iter().collect(),
            auth: ids.clone(),
            depth: ids.len() as u64 + 1,
            ts: MockClock::START_MS,
        };
        let event = evil.sign(&now, &made);
        ids.push(event.pdu().event_id.clone());
        events.push(wire(&event));
    }
    let mut template = honest("join");
    template["prev_events"] = json!([ids[2]]);
    template["auth_events"] = json!([ids[0], ids[2]]);
    let template = json!({ "room_version": "11", "event": template });
    evil.serve("/make_join/", template);
    let answer = json!({
        "origin": "evil.example", "members_omitted": false, "state": events, "auth_chain": events,
    });
    evil.serve("/send_join/", answer);
    let via = vec![evil.keys.server_name().to_owned()];
    let carol = user("@carol:one.example");
    here.app.rooms.join(&room, &carol, None, via).await
}

#[tokio::test]
async fn a_room_is_of_the_version_that_its_create_event_says() {
    join_of("11").await.unwrap();
    for other in ["10", "org.example.none"] {
        let refused = join_of(other).await;
        assert!(
            matches!(refused, Err(crate::rooms::JoinError::BadAnswer)),
            "{other}: {refused:?}"
        );
    }
}
