//! Requests whose parts contradict each other: header, path and body.

use super::{
    transactions::{holding, text_of},
    *,
};

#[tokio::test]
async fn an_event_that_is_not_what_the_path_says_is_not_taken() {
    let siege = Siege::start().await;
    let Siege {
        here, evil, room, ..
    } = &siege;
    let now = here.now(room).await;
    let join = async |who: &str| {
        let content = json!({ "membership": "join" });
        let made = here.made(room, user(who), "m.room.member", Some(who), content);
        evil.sign(&now, &made.await)
    };
    let event = join("@mel:evil.example").await;
    let borrowed = join("@dan:good.example").await;
    let id = &event.pdu().event_id;
    let other_room = here.create(Preset::PublicChat, RoomVersionId::V11).await;
    let other_id = now.extremities[0].clone();
    let path = |verb: &str, room: &OwnedRoomId, id: &OwnedEventId| {
        format!("/_matrix/federation/{verb}/{room}/{id}")
    };
    let wrong = [
        (path("v2/send_join", &other_room, id), &event),
        (path("v2/send_join", room, &other_id), &event),
        (path("v2/send_leave", room, id), &event),
        (path("v1/send_knock", room, id), &event),
        (
            path("v2/send_join", room, &borrowed.pdu().event_id),
            &borrowed,
        ),
    ];
    for (uri, event) in wrong {
        let (status, answer) = evil.put(here, &uri, &text_of(event)).await;
        assert!([400, 403].contains(&status), "{uri}: {status} {answer}");
        assert!(here.held(&event.pdu().event_id).await.is_none(), "{uri}");
    }
    // The control: nothing is wrong with the event.
    let uri = path("v2/send_join", room, id);
    let (status, answer) = evil.put(here, &uri, &text_of(&event)).await;
    assert_eq!(status, 200, "{answer}");
    let held = here.held(id).await.unwrap();
    assert_eq!(held.status, EventStatus::Accepted);
}

#[tokio::test]
async fn nobody_signs_in_anothers_name_or_for_another_server() {
    let siege = Siege::start().await;
    let Siege {
        here,
        evil,
        good,
        room,
        ..
    } = &siege;
    let made = siege.mallory_says("hello").await;
    let body = holding(&text_of(&evil.sign(&*here.now(room).await, &made)));
    let (us, them) = (&*here.app.config.server_name, evil.keys.server_name());
    let uri = "/_matrix/federation/v1/send/1";
    for (names, body, status) in [
        // Signed with Mallory's key, in the name of Dora's server.
        (
            (good.keys.server_name(), us),
            body.replace("evil.example", "good.example"),
            401,
        ),
        // Signed for another server, and handed on to us.
        ((them, good.keys.server_name()), body.clone(), 401),
        // In our own name.
        ((us, us), body.clone(), 403),
        // What the body says is not who signed.
        (
            (them, us),
            body.replace(r#""origin":"evil"#, r#""origin":"good"#),
            403,
        ),
    ] {
        let answer = evil.put_between(here, names, uri, &body).await;
        assert_eq!(answer.0, status, "{}", answer.1);
        assert!(here.bodies(room).await.is_empty());
    }
    // The control.
    let answer = evil.put_between(here, (them, us), uri, &body).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert_eq!(here.bodies(room).await, ["hello"]);
}
