//! An invite that a client sends as state, of somebody on another server.

use super::{paging::call, *};

#[tokio::test]
async fn an_invite_put_as_state_reaches_the_other_server() {
    let Pair { one, two, .. } = pair().await;
    let router = router::client(&one.app);
    let account = json!({
        "username": "ann", "password": "quetzal feathers", "auth": {"type": "m.login.dummy"},
    });
    let ann = call(&router, "POST", "/register", "", account).await;
    let token = ann["access_token"].as_str().unwrap();
    let made = call(&router, "POST", "/createRoom", token, json!({})).await;
    let room: OwnedRoomId = made["room_id"].as_str().unwrap().try_into().unwrap();
    let path = format!("/rooms/{room}/state/m.room.member/{}", bob());
    let invite = json!({"membership": "invite"});
    let sent = call(&router, "PUT", &path, token, invite).await;
    for server in [&one, &two] {
        assert_eq!(server.membership(&room, &bob()).await, Membership::Invite);
    }
    let shown = call(&router, "GET", &path, token, Value::Null).await;
    assert_eq!(shown["membership"], "invite");
    assert!(sent["event_id"].is_string());
    // What is shown of the room goes beside the invite, and does not hold it once more.
    let snapshot = one.app.rooms.snapshot(&room).await.unwrap().unwrap();
    let state = one.app.rooms.stripped_state(&snapshot).await.unwrap();
    let kinds: Vec<Value> = state
        .iter()
        .map(|event| serde_json::from_str::<Value>(event.get()).unwrap()["type"].clone())
        .collect();
    assert!(kinds.contains(&json!("m.room.create")));
    assert!(!kinds.contains(&json!("m.room.member")));
}
