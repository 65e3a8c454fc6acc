//! Rooms in sync: timelines, state, members, invites, leaves.

use super::*;

#[tokio::test]
async fn a_room_is_told_whole_and_then_only_what_is_new() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({"name": "News"})).await;
    server.join(&bob, &room).await;
    server.say(&bob, &room, "hello").await;
    let all = filter(&json!({"room": {"timeline": {"limit": 100}}}));
    let answer = server.sync(&alice, "", &all).await;
    let joined = &answer["rooms"]["join"][&room];
    let events = joined["timeline"]["events"].as_array().unwrap();
    assert_eq!(events[0]["type"], "m.room.create");
    assert_eq!(joined["timeline"]["limited"], false);
    assert!(joined.get("state").is_none(), "the timeline says all of it");
    assert!(events[0].get("room_id").is_none());
    assert_eq!(joined["summary"]["m.joined_member_count"], 2);
    assert!(
        joined["summary"].get("m.heroes").is_none(),
        "the room has a name"
    );
    assert!(answer.get("device_one_time_keys_count").is_some());
    assert_eq!(answer["device_unused_fallback_key_types"], json!([]));

    let answer = server.sync(&alice, &next(&answer), "").await;
    assert!(answer.get("rooms").is_none(), "{answer}");
    assert!(answer.get("device_one_time_keys_count").is_some());
    let id = server.say(&alice, &room, "mine").await;
    let answer = server.sync(&alice, &next(&answer), "").await;
    let joined = &answer["rooms"]["join"][&room];
    let event = &joined["timeline"]["events"][0];
    assert_eq!(event["event_id"], id);
    assert_eq!(event["unsigned"]["transaction_id"], "mine");
    assert!(joined.get("summary").is_none() && joined.get("state").is_none());
    let other = server.login("alice").await;
    let answer = server.sync(&other, "", "").await;
    let events = answer["rooms"]["join"][&room]["timeline"]["events"]
        .as_array()
        .unwrap();
    assert!(
        events.last().unwrap()["unsigned"]
            .get("transaction_id")
            .is_none()
    );
}

#[tokio::test]
async fn a_gap_is_limited_and_pages_back_without_loss() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = next(&server.sync(&bob, "", "").await);
    for number in 0..15 {
        server.say(&alice, &room, &format!("before{number}")).await;
    }
    let topic = json!({"topic": "changed in the gap"});
    expect_ok(
        server
            .put(&alice, &format!("/rooms/{room}/state/m.room.topic/"), topic)
            .await,
    );
    for number in 0..15 {
        server.say(&alice, &room, &format!("after{number}")).await;
    }
    let answer = server.sync(&bob, &since, "").await;
    let joined = &answer["rooms"]["join"][&room];
    assert_eq!(joined["timeline"]["limited"], true);
    let told = bodies(&joined["timeline"]["events"]);
    assert_eq!(told.len(), 10);
    let topic = ("m.room.topic".to_owned(), String::new());
    assert_eq!(places(&joined["state"]["events"]), [topic]);
    let mut seen: Vec<String> = told.into_iter().rev().collect();
    let mut from = joined["timeline"]["prev_batch"]
        .as_str()
        .unwrap()
        .to_owned();
    while seen.len() < 30 {
        let path = format!("/rooms/{room}/messages?dir=b&limit=4&from={from}");
        let page = expect_ok(server.get(&bob, &path).await);
        seen.extend(bodies(&page["chunk"]));
        from = page["end"].as_str().unwrap().to_owned();
    }
    let after = (0..15).rev().map(|number| format!("after{number}"));
    let before = (0..15).rev().map(|number| format!("before{number}"));
    assert_eq!(seen, after.chain(before).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_late_joiner_gets_the_state_and_pages_across_the_seam() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    let since = next(&server.sync(&bob, "", "").await);
    for number in 0..20 {
        server.say(&alice, &room, &format!("old{number}")).await;
    }
    server.join(&bob, &room).await;
    for number in 0..3 {
        server.say(&alice, &room, &format!("new{number}")).await;
    }
    let answer = server.sync(&bob, &since, "").await;
    let joined = &answer["rooms"]["join"][&room];
    assert_eq!(joined["timeline"]["limited"], true);
    let state = places(&joined["state"]["events"]);
    for kind in ["m.room.create", "m.room.power_levels", "m.room.member"] {
        assert!(
            state.iter().any(|place| place.0 == kind),
            "{kind} in {state:?}"
        );
    }
    let from = joined["timeline"]["prev_batch"].as_str().unwrap();
    let told = joined["timeline"]["events"].as_array().unwrap().len();
    let back = format!("/rooms/{room}/messages?dir=b&limit=100&from={from}");
    let back = expect_ok(server.get(&bob, &back).await);
    assert!(back.get("end").is_none(), "the room begins there");
    let forward = format!("/rooms/{room}/messages?dir=f&limit=100&from={from}");
    let forward = expect_ok(server.get(&bob, &forward).await);
    let ids = |events: &Value| -> Vec<String> {
        let events = events.as_array().unwrap().iter();
        events
            .map(|event| event["event_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut all = ids(&back["chunk"]);
    all.reverse();
    all.extend(ids(&forward["chunk"]));
    assert_eq!(ids(&forward["chunk"]).len(), told);
    let whole = format!("/rooms/{room}/messages?dir=f&limit=100");
    let whole = expect_ok(server.get(&alice, &whole).await);
    assert_eq!(all, ids(&whole["chunk"]));
}

#[tokio::test]
async fn members_are_loaded_lazily_and_not_twice() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({"name": "Crowd"})).await;
    let mut users = Vec::new();
    for name in ["bob", "carol", "dave"] {
        let user = server.register(name).await;
        server.join(&user, &room).await;
        users.push(user);
    }
    let definition = json!({"room": {
        "timeline": {"limit": 1}, "state": {"lazy_load_members": true},
    }});
    let lazy = filter(&definition);
    let members = |answer: &Value| -> Vec<String> {
        let places = places(&answer["rooms"]["join"][&room]["state"]["events"]);
        let members = places
            .into_iter()
            .filter(|place| place.0 == "m.room.member");
        members.map(|place| place.1).collect()
    };
    server.say(&users[0], &room, "first").await;
    let answer = server.sync(&alice, "", &lazy).await;
    assert_eq!(members(&answer), [alice.id.clone(), users[0].id.clone()]);
    let since = next(&answer);
    server.say(&users[1], &room, "second").await;
    let lost = server.sync(&alice, &since, &lazy).await;
    assert_eq!(members(&lost), [users[1].id.clone()]);
    let again = server.sync(&alice, &since, &lazy).await;
    assert_eq!(
        members(&again),
        [users[1].id.clone()],
        "the answer was lost"
    );
    server.say(&users[1], &room, "third").await;
    let known = server.sync(&alice, &next(&again), &lazy).await;
    assert_eq!(members(&known), Vec::<String>::new());
    server.say(&users[1], &room, "fourth").await;
    let redundant = filter(&json!({"room": {
        "state": {"lazy_load_members": true, "include_redundant_members": true},
    }}));
    let answer = server.sync(&alice, &next(&known), &redundant).await;
    assert_eq!(members(&answer), [users[1].id.clone()]);
}

#[tokio::test]
async fn an_invite_shows_stripped_state_and_its_refusal_a_leave() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let since = next(&server.sync(&bob, "", "").await);
    let invited = json!({"preset": "private_chat", "name": "Secret", "invite": [bob.id]});
    let room = server.room(&alice, invited).await;
    server.say(&alice, &room, "not for bob").await;
    let answer = server.sync(&bob, &since, "").await;
    assert!(answer["rooms"].get("join").is_none());
    let events = &answer["rooms"]["invite"][&room]["invite_state"]["events"];
    let stripped = places(events);
    assert!(stripped.contains(&("m.room.name".to_owned(), String::new())));
    assert!(stripped.contains(&("m.room.member".to_owned(), bob.id.clone())));
    assert!(
        events
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event.get("event_id").is_none())
    );
    assert!(
        server
            .sync(&bob, &next(&answer), "")
            .await
            .get("rooms")
            .is_none()
    );
    let initial = server.sync(&bob, "", "").await;
    assert!(initial["rooms"]["invite"].get(&room).is_some());

    expect_ok(
        server
            .post(&bob, &format!("/rooms/{room}/leave"), json!({}))
            .await,
    );
    let answer = server.sync(&bob, &next(&answer), "").await;
    let left = &answer["rooms"]["leave"][&room];
    assert_eq!(bodies(&left["timeline"]["events"]), Vec::<String>::new());
    assert!(answer["rooms"].get("invite").is_none());
}

#[tokio::test]
async fn a_leave_is_the_last_that_is_told() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    let since = next(&server.sync(&bob, "", "").await);
    server.say(&alice, &room, "seen").await;
    expect_ok(
        server
            .post(&bob, &format!("/rooms/{room}/leave"), json!({}))
            .await,
    );
    server.say(&alice, &room, "unseen").await;
    let answer = server.sync(&bob, &since, "").await;
    assert!(answer["rooms"].get("join").is_none());
    let events = &answer["rooms"]["leave"][&room]["timeline"]["events"];
    assert_eq!(bodies(events), ["seen"]);
    let last = events.as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["content"]["membership"], "leave");
    assert_eq!(last["unsigned"]["prev_content"]["membership"], "join");
    server.say(&alice, &room, "unseen too").await;
    assert!(
        server
            .sync(&bob, &next(&answer), "")
            .await
            .get("rooms")
            .is_none()
    );
    assert!(server.sync(&bob, "", "").await.get("rooms").is_none());
    let left = filter(&json!({"room": {"include_leave": true}}));
    let answer = server.sync(&bob, "", &left).await;
    assert!(answer["rooms"]["leave"].get(&room).is_some());

    // Back again: the gap is closed by history visibility, the state is told whole.
    server.join(&bob, &room).await;
    let since = next(&answer);
    let answer = server.sync(&bob, &since, "").await;
    let joined = &answer["rooms"]["join"][&room];
    assert!(!joined["state"]["events"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_filter_lets_through_what_it_says() {
    let server = Server::start().await;
    let (alice, bob) = (server.register("alice").await, server.register("bob").await);
    let room = server.room(&alice, json!({})).await;
    // Two rooms that one user makes in the same millisecond would be one: an id is a hash.
    server.clock.advance(Duration::from_millis(1));
    let other = server.room(&alice, json!({})).await;
    server.join(&bob, &room).await;
    for number in 0..60 {
        server.say(&alice, &room, &format!("hers{number}")).await;
    }
    let his = server.say(&bob, &room, "his").await;
    server.say(&alice, &room, "last").await;
    let definition = json!({
        "event_fields": ["content.body"],
        "room": {"not_rooms": [other], "timeline": {"senders": [bob.id], "types": ["m.room.mess*"]}},
    });
    let answer = server.sync(&alice, "", &filter(&definition)).await;
    let rooms = answer["rooms"]["join"].as_object().unwrap();
    assert_eq!(rooms.keys().collect::<Vec<_>>(), [&room]);
    let events = rooms[&room]["timeline"]["events"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event_id"], his);
    assert_eq!(events[0]["content"], json!({"body": "his"}));
    assert!(events[0].get("unsigned").is_none());
}

#[tokio::test]
async fn state_can_be_told_as_after_the_timeline() {
    let server = Server::start().await;
    let alice = server.register("alice").await;
    let room = server.room(&alice, json!({})).await;
    let since = next(&server.sync(&alice, "", "").await);
    let topic = json!({"topic": "new"});
    expect_ok(
        server
            .put(&alice, &format!("/rooms/{room}/state/m.room.topic/"), topic)
            .await,
    );
    let answer = server.sync(&alice, &since, "&use_state_after=true").await;
    let joined = &answer["rooms"]["join"][&room];
    assert!(joined.get("state").is_none());
    assert_eq!(
        places(&joined["state_after"]["events"]),
        [("m.room.topic".to_owned(), String::new())]
    );
    assert_eq!(joined["timeline"]["events"].as_array().unwrap().len(), 1);
    let full = server
        .sync(&alice, &next(&answer), "&full_state=true")
        .await;
    let state = places(&full["rooms"]["join"][&room]["state"]["events"]);
    assert!(state.iter().any(|place| place.0 == "m.room.create"));
}
