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
