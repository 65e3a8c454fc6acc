//! Invites to rooms that this server knows nothing of.

use super::*;

#[tokio::test]
async fn an_invite_need_not_show_anything_of_its_room() {
    let siege = Siege::start().await;
    let Siege { here, evil, .. } = &siege;
    let room: OwnedRoomId = "!theirs:evil.example".try_into().unwrap();
    let carol = user("@carol:one.example");
    let made = Made {
        room: room.clone(),
        state_key: Some(carol.to_string()),
        kind: "m.room.member".to_owned(),
        content: json!({ "membership": "invite" }),
        ..siege.mallory_says("").await
    };
    let event = evil.sign(&*here.now(&siege.room).await, &made);
    let id = &event.pdu().event_id;
    let uri = format!("/_matrix/federation/v2/invite/{room}/{id}");
    let body = json!({ "event": wire(&event), "room_version": "11" }).to_string();
    let (status, answer) = evil.put(here, &uri, &body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["event"]["signatures"]["one.example"].is_object());
    assert_eq!(here.membership(&room, &carol).await, Membership::Invite);
    // Another server's name in its place is refused as a parameter.
    let (status, answer) = siege.good.put(here, &uri, &body).await;
    assert_eq!(
        (status, answer["errcode"].as_str()),
        (400, Some("M_INVALID_PARAM"))
    );
}

#[tokio::test]
async fn an_invite_that_showed_nothing_of_its_room_is_taken_back_all_the_same() {
    let siege = Siege::start().await;
    let Siege { here, evil, .. } = &siege;
    let room: OwnedRoomId = "!theirs:evil.example".try_into().unwrap();
    let carol = user("@carol:one.example");
    let member = |membership: &str| Made {
        room: room.clone(),
        sender: mallory(),
        state_key: Some(carol.to_string()),
        kind: "m.room.member".to_owned(),
        content: json!({ "membership": membership }),
        redacts: None,
        prev: vec!["$before".try_into().unwrap()],
        auth: Vec::new(),
        depth: 9,
        ts: MockClock::START_MS,
    };
    let now = here.now(&siege.room).await;
    let invite = evil.sign(&now, &member("invite"));
    let uri = format!(
        "/_matrix/federation/v2/invite/{room}/{}",
        invite.pdu().event_id
    );
    let body = json!({ "event": wire(&invite), "room_version": "11" }).to_string();
    assert_eq!(evil.put(here, &uri, &body).await.0, 200);
    // Another server's word ends it as little as ever.
    let taken_back = evil.sign(&now, &member("leave"));
    assert!(siege.good.give(here, &room, &taken_back).await.is_err());
    assert_eq!(here.membership(&room, &carol).await, Membership::Invite);
    evil.give(here, &room, &taken_back).await.unwrap();
    assert_eq!(here.membership(&room, &carol).await, Membership::Leave);
}
