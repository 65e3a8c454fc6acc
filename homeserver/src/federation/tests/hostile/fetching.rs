//! What is asked of peers for the sake of an event, and what is made of their answers.

use std::collections::BTreeSet;

use passeur_protocol::signed::event_id_of;

use super::*;

/// Has Mallory send an event whose predecessor is not held, with a state in which one event is
/// nowhere to be found.
async fn with_a_hole(kind: &str) -> Result<OwnedEventId, ReceiveError> {
    let siege = Siege::start().await;
    let now = siege.here.now(&siege.room).await;
    let hole = now.state_id(&kind.into(), "").unwrap();
    let lost: OwnedEventId = "$lost".try_into().unwrap();
    let state: Vec<_> = now
        .state
        .values()
        .map(|id| if id == hole { &lost } else { id })
        .collect();
    let answer = json!({ "auth_chain_ids": [], "pdu_ids": state });
    siege.evil.serve("/state_ids/", answer);
    let made = Made {
        prev: vec!["$unknown".try_into().unwrap()],
        ..siege.mallory_says("hello").await
    };
    siege.evil.send(&siege.here, &made).await
}

#[tokio::test]
async fn a_state_with_a_hole_that_could_decide_is_no_state() {
    let answer = with_a_hole("m.room.power_levels").await;
    assert!(matches!(answer, Err(ReceiveError::Unplaced)), "{answer:?}");
    // The control: what says nothing of the event may be missing.
    with_a_hole("m.room.name").await.unwrap();
}

#[tokio::test]
async fn one_unknown_event_is_asked_for_alone_however_long_the_auth_chain() {
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
    let now = here.now(room).await;
    let old = now.state_id(&StateEventType::RoomMember, who.as_str());
    let made = here
        .made(room, who.clone(), "m.room.message", None, text("hello"))
        .await;
    let auth = made.auth.iter().map(|auth| match Some(&**auth) == old {
        true => id.clone(),
        false => auth.clone(),
    });
    let made = Made {
        auth: auth.collect(),
        ..made.clone()
    };
    let event = json!({ "origin": "good.example", "origin_server_ts": 1, "pdus": [wire(&member)] });
    good.serve(&format!("/event/{id}"), event);
    let long = vec![json!({}); 1_500];
    good.serve("/event_auth/", json!({ "auth_chain": long }));
    good.send(here, &made).await.unwrap();
    assert_eq!(here.bodies(room).await, ["hello"]);
    assert_eq!(here.held(&id).await.unwrap().status, EventStatus::Outlier);
}

#[tokio::test]
async fn a_gap_is_closed_also_where_what_is_missing_authorises_what_comes() {
    let siege = Siege::start().await;
    let Siege {
        here, good, room, ..
    } = &siege;
    let now = here.now(room).await;
    let who = dora();
    let content = json!({ "membership": "join", "displayname": "Dora" });
    let made = here
        .made(
            room,
            who.clone(),
            "m.room.member",
            Some(who.as_str()),
            content,
        )
        .await;
    let member = good.sign(&now, &made);
    let id = member.pdu().event_id.clone();
    let old = now.state_id(&StateEventType::RoomMember, who.as_str());
    let said = here
        .made(room, who.clone(), "m.room.message", None, text("hello"))
        .await;
    let auth = said.auth.iter().map(|auth| match Some(&**auth) == old {
        true => id.clone(),
        false => auth.clone(),
    });
    let said = Made {
        auth: auth.collect(),
        prev: vec![id.clone()],
        depth: made.depth + 1,
        ..said.clone()
    };
    // The peer knows of no other way to it than this one.
    let events = json!({ "events": [wire(&member)] });
    good.serve("/get_missing_events/", events);
    good.send(here, &said).await.unwrap();
    assert_eq!(here.bodies(room).await, ["hello"]);
    assert_eq!(here.held(&id).await.unwrap().status, EventStatus::Accepted);
}

#[tokio::test]
async fn a_member_event_that_hangs_in_the_air_is_refused_for_good() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let newcomer = user("@newcomer:evil.example");
    let content = json!({ "membership": "join" });
    let made = here
        .made(
            room,
            newcomer.clone(),
            "m.room.member",
            Some(newcomer.as_str()),
            content,
        )
        .await;
    let put = async |version: &str, made: &Made| {
        let event = evil.sign(&*here.now(room).await, made);
        let id = &event.pdu().event_id;
        let uri = format!("/_matrix/federation/{version}/send_join/{room}/{id}");
        evil.put(here, &uri, &wire(&event).to_string()).await
    };
    let lost = Made {
        prev: vec!["$lost".try_into().unwrap()],
        ..made.clone()
    };
    for version in ["v1", "v2"] {
        let (status, answer) = put(version, &lost).await;
        assert_eq!(
            (status, answer["errcode"].as_str()),
            (400, Some("M_INVALID_PARAM"))
        );
    }
    // The control, by the older form.
    let (status, answer) = put("v1", &made).await;
    assert_eq!((status, &answer[0]), (200, &json!(200)), "{answer}");
    assert!(!answer[1]["state"].as_array().unwrap().is_empty());
    assert_eq!(here.membership(room, &newcomer).await, Membership::Join);
}

#[tokio::test]
async fn a_join_is_answered_without_members_to_those_who_do_without_them() {
    let (wires, clock) = (Wires::default(), MockClock::new(MockClock::START_MS));
    let here = server("one.example", &wires, &clock, 1).await;
    let good = Hostile::start("good.example", &wires);
    let named = here.create(Preset::PublicChat, RoomVersionId::V11).await;
    let nameless = NewRoom {
        name: None,
        ..new_room(Preset::PublicChat, RoomVersionId::V11)
    };
    let nameless = here.app.rooms.create(&nameless).await.unwrap();
    for (room, heroes) in [(&named, 0), (&nameless, 2)] {
        good.join(&here, room, &dora()).await;
        let whole = {
            let who = user("@whole:good.example");
            sent_join(&here, &good, room, &who, "").await
        };
        assert!(whole.get("members_omitted").is_none() && whole.get("servers_in_room").is_none());
        assert_eq!(members(&whole["state"]), 2);
        // Both are told of the same state; `whole` is in it as a member by now.
        let who = user("@light:good.example");
        let light = sent_join(&here, &good, room, &who, "?omit_members=true").await;
        assert_eq!(light["members_omitted"], true);
        assert_eq!(
            light["servers_in_room"],
            json!(["good.example", "one.example"])
        );
        assert_eq!(members(&light["state"]), if heroes == 0 { 0 } else { 3 });
        let (state, chain) = (ids(&light["state"]), ids(&light["auth_chain"]));
        assert!(
            state.is_disjoint(&chain),
            "what is in the state is not told twice"
        );
        // All that the join and the state cite is there.
        let told: BTreeSet<String> = state.union(&chain).cloned().collect();
        for event in [&light["state"], &light["auth_chain"]]
            .into_iter()
            .flat_map(|list| list.as_array().unwrap())
            .chain([&light["event"]])
        {
            for cited in event["auth_events"].as_array().unwrap() {
                assert!(told.contains(cited.as_str().unwrap()), "{cited}");
            }
        }
        let others =
            |answer: &Value| answer["state"].as_array().unwrap().len() - members(&answer["state"]);
        assert_eq!(others(&light), others(&whole));
    }
}

/// Joins by hand, and what is answered.
async fn sent_join(
    here: &Server,
    peer: &Hostile,
    room: &OwnedRoomId,
    who: &OwnedUserId,
    query: &str,
) -> Value {
    let content = json!({ "membership": "join" });
    let made = here
        .made(
            room,
            who.clone(),
            "m.room.member",
            Some(who.as_str()),
            content,
        )
        .await;
    let event = peer.sign(&*here.now(room).await, &made);
    let id = &event.pdu().event_id;
    let uri = format!("/_matrix/federation/v2/send_join/{room}/{id}{query}");
    let (status, answer) = peer.put(here, &uri, &wire(&event).to_string()).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn members(state: &Value) -> usize {
    let state = state.as_array().unwrap().iter();
    state
        .filter(|event| event["type"] == "m.room.member")
        .count()
}

fn ids(events: &Value) -> BTreeSet<String> {
    let rules = versions::rules(&RoomVersionId::V11).unwrap();
    let events = events.as_array().unwrap().iter();
    let id = |event: &Value| {
        let object: CanonicalJsonObject = serde_json::from_value(event.clone()).unwrap();
        event_id_of(&object, rules).unwrap().to_string()
    };
    events.map(id).collect()
}

#[tokio::test]
async fn nobody_is_asked_again_at_once_about_what_could_not_be_placed() {
    let siege = Siege::start().await;
    let Siege {
        here,
        evil,
        good,
        room,
        clock,
        ..
    } = &siege;
    let made = siege.mallory_says("lost").await;
    let lost = evil.sign(&*here.now(room).await, &made);
    let orphan = Made {
        prev: vec![lost.pdu().event_id.clone()],
        depth: made.depth + 1,
        ..siege.mallory_says("orphan").await
    };
    let orphan = evil.sign(&*here.now(room).await, &orphan);
    let asked = || evil.heard("/get_missing_events/").len();
    let mut asked_at = Vec::new();
    for second in (0..100).step_by(5) {
        let before = asked();
        let refused = evil.give(here, room, &orphan).await;
        assert!(matches!(refused, Err(ReceiveError::Unplaced)));
        if asked() > before {
            asked_at.push(second);
        }
        clock.advance(std::time::Duration::from_secs(5));
    }
    assert_eq!(asked_at, [0, 10, 30, 70]);
    // Another server may know better.
    let before = good.heard("/get_missing_events/").len();
    let refused = good.give(here, room, &orphan).await;
    assert!(matches!(refused, Err(ReceiveError::Unplaced)));
    assert!(good.heard("/get_missing_events/").len() > before);
    // What can be placed now is.
    evil.give(here, room, &lost).await.unwrap();
    evil.give(here, room, &orphan).await.unwrap();
    assert_eq!(here.bodies(room).await, ["lost", "orphan"]);
}
