//! Who is in the room: joining, being invited, asking, leaving, being sent away.

use passeur_tests::{
    Homeserver,
    user::{User, escape},
};
use serde_json::{Value, json};

use super::stage::{Stage, unique};

pub(super) async fn a_guest_joins_by_alias(mut stage: Stage) {
    let localpart = unique("quetzal_place");
    let alias = format!("#{localpart}:{}", stage.host.server_name());
    let room = stage
        .room(json!({"preset": "public_chat", "room_alias_name": localpart}))
        .await;
    let found = stage
        .bob
        .get(&format!("/v3/directory/room/{}", escape(&alias)))
        .await;
    assert_eq!(found["room_id"], json!(room));
    let servers = found["servers"].as_array().expect("a list of servers");
    assert!(
        servers.contains(&json!(stage.host.server_name())),
        "{found}"
    );
    let joined = stage
        .bob
        .post(&format!("/v3/join/{}", escape(&alias)), json!({}))
        .await;
    assert_eq!(joined["room_id"], json!(room));
    stage.alice.until_member(&room, &stage.bob.id, "join").await;
    stage.talk(&room).await;
    stage.agree(&room).await;
}

pub(super) async fn an_invite_is_accepted(mut stage: Stage) {
    let room = stage
        .room(json!({"preset": "private_chat", "name": "quetzal nest"}))
        .await;
    let (host, bob_id) = (stage.host.server_name().to_owned(), stage.bob.id.clone());
    let refused = stage.bob.refused_join(&room, &host).await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
    stage.alice.invite(&room, &bob_id).await;
    let shown = invite(&mut stage.bob, &room).await;
    for (kind, key) in [
        ("m.room.create", ""),
        ("m.room.join_rules", ""),
        ("m.room.name", ""),
        ("m.room.member", &bob_id),
    ] {
        let has = |event: &Value| event["type"] == kind && event["state_key"] == key;
        assert!(shown.iter().any(has), "no {kind} of {key:?} in {shown:?}");
    }
    stage.bob.join(&room, &host).await;
    stage.alice.until_member(&room, &bob_id, "join").await;
    stage.talk(&room).await;
    stage.agree(&room).await;
}

/// The stripped state with which a user is invited to a room.
async fn invite(user: &mut User, room: &str) -> Vec<Value> {
    user.until_sync("an invite", |sync| {
        let state = &sync["rooms"]["invite"].get(room)?["invite_state"]["events"];
        Some(state.as_array().expect("stripped state").clone())
    })
    .await
}

pub(super) async fn an_invite_is_refused(mut stage: Stage) {
    let room = stage.room(json!({"preset": "private_chat"})).await;
    let bob_id = stage.bob.id.clone();
    stage.alice.invite(&room, &bob_id).await;
    stage.bob.wait_invite(&room).await;
    stage.bob.leave(&room).await;
    stage.alice.until_member(&room, &bob_id, "leave").await;
    gone(&mut stage.bob, &room).await;
    let refused = stage
        .bob
        .refused_join(&room, stage.host.server_name())
        .await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
}

pub(super) async fn an_invite_is_taken_back(mut stage: Stage) {
    let room = stage.room(json!({"preset": "private_chat"})).await;
    let bob_id = stage.bob.id.clone();
    stage.alice.invite(&room, &bob_id).await;
    stage.bob.wait_invite(&room).await;
    stage.alice.moderate(&room, "kick", &bob_id).await;
    gone(&mut stage.bob, &room).await;
    let refused = stage
        .bob
        .refused_join(&room, stage.host.server_name())
        .await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
}

/// Waits until a user hears of being out of a room.
async fn gone(user: &mut User, room: &str) {
    user.until_sync("the room among those left", |sync| {
        sync["rooms"]["leave"].get(room).map(|_| ())
    })
    .await;
}

pub(super) async fn a_guest_leaves_and_hears_no_more(mut stage: Stage) {
    let room = stage.shared_room().await;
    let other = stage.shared_room().await;
    stage.talk(&room).await;
    let bob_id = stage.bob.id.clone();
    stage.bob.leave(&room).await;
    stage.alice.until_member(&room, &bob_id, "leave").await;
    let unheard = stage.alice.send_text(&room, "quetzal: he is gone").await;
    // What is said after it has come, so it has not.
    stage.talk(&other).await;
    let refusal = stage.bob.event(&room, &unheard).await;
    assert!(refusal.is_err(), "{refusal:?}");
    // And may come again.
    stage.bob.join(&room, stage.host.server_name()).await;
    stage.alice.until_member(&room, &bob_id, "join").await;
    stage.talk(&room).await;
    stage.agree(&room).await;
}

pub(super) async fn a_kicked_guest_may_come_again(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let bob_id = stage.bob.id.clone();
    stage.alice.moderate(&room, "kick", &bob_id).await;
    gone(&mut stage.bob, &room).await;
    stage.bob.join(&room, stage.host.server_name()).await;
    stage.alice.until_member(&room, &bob_id, "join").await;
    stage.talk(&room).await;
    stage.agree(&room).await;
}

pub(super) async fn a_banned_guest_may_not_until_unbanned(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let (host, bob_id) = (stage.host.server_name().to_owned(), stage.bob.id.clone());
    stage.alice.moderate(&room, "ban", &bob_id).await;
    gone(&mut stage.bob, &room).await;
    let refused = stage.bob.refused_join(&room, &host).await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
    stage.alice.moderate(&room, "unban", &bob_id).await;
    stage.bob.join(&room, &host).await;
    stage.alice.until_member(&room, &bob_id, "join").await;
    stage.talk(&room).await;
    stage.agree(&room).await;
}

/// The body of `createRoom` for a room with these join rules.
fn with_join_rules(rules: &Value) -> Value {
    let rules = json!({"type": "m.room.join_rules", "state_key": "", "content": rules});
    json!({"preset": "private_chat", "initial_state": [rules]})
}

/// Asks to be let in.
async fn knock(user: &User, room: &str, via: &str) {
    let (room, via) = (escape(room), escape(via));
    let path = format!("/v3/knock/{room}?via={via}&server_name={via}");
    user.post(&path, json!({"reason": "quetzal"})).await;
}

pub(super) async fn a_knock_is_answered(mut stage: Stage) {
    let room = stage
        .room(with_join_rules(&json!({"join_rule": "knock"})))
        .await;
    let (host, bob_id) = (stage.host.server_name().to_owned(), stage.bob.id.clone());
    let refused = stage.bob.refused_join(&room, &host).await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
    knock(&stage.bob, &room, &host).await;
    stage
        .bob
        .until_sync("the room among those asked", |sync| {
            let state = &sync["rooms"]["knock"].get(&room)?["knock_state"]["events"];
            let is_create = |event: &Value| event["type"] == "m.room.create";
            assert!(state.as_array()?.iter().any(is_create), "{state}");
            Some(())
        })
        .await;
    stage.alice.until_member(&room, &bob_id, "knock").await;
    stage.alice.invite(&room, &bob_id).await;
    stage.bob.wait_invite(&room).await;
    stage.bob.join(&room, &host).await;
    stage.alice.until_member(&room, &bob_id, "join").await;
    stage.talk(&room).await;
    stage.agree(&room).await;
}

/// Looked at from the room's side: Synapse neither tells the server of who knocked nor shows what it is told of it.
pub(super) async fn a_knock_is_refused(mut stage: Stage) {
    let room = stage
        .room(with_join_rules(&json!({"join_rule": "knock"})))
        .await;
    let (host, bob_id) = (stage.host.server_name().to_owned(), stage.bob.id.clone());
    knock(&stage.bob, &room, &host).await;
    stage.alice.until_member(&room, &bob_id, "knock").await;
    stage.alice.moderate(&room, "kick", &bob_id).await;
    stage.alice.until_member(&room, &bob_id, "leave").await;
    // Asking again is allowed.
    knock(&stage.bob, &room, &host).await;
    stage.alice.until_member(&room, &bob_id, "knock").await;
}

pub(super) async fn a_knock_is_taken_back(mut stage: Stage) {
    let room = stage
        .room(with_join_rules(&json!({"join_rule": "knock"})))
        .await;
    let (host, bob_id) = (stage.host.server_name().to_owned(), stage.bob.id.clone());
    knock(&stage.bob, &room, &host).await;
    stage.alice.until_member(&room, &bob_id, "knock").await;
    stage.bob.leave(&room).await;
    stage.alice.until_member(&room, &bob_id, "leave").await;
}

/// A restricted room: who is in the space comes in, who is not does not.
pub(super) async fn members_of_a_space_may_join(mut stage: Stage) {
    let space = stage
        .room(json!({"preset": "public_chat", "creation_content": {"type": "m.space"}}))
        .await;
    let rules = json!({
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": space}],
    });
    let room = stage.room(with_join_rules(&rules)).await;
    let (host, bob_id) = (stage.host.server_name().to_owned(), stage.bob.id.clone());
    let refused = stage.bob.refused_join(&room, &host).await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
    stage.bob.join(&space, &host).await;
    stage.alice.until_member(&space, &bob_id, "join").await;
    stage.bob.join(&room, &host).await;
    stage.alice.until_member(&room, &bob_id, "join").await;
    let member = stage.bob.state(&room, "m.room.member", &bob_id).await;
    let member = member.expect("Bob's membership");
    let by = &member["join_authorised_via_users_server"];
    assert_eq!(*by, json!(stage.alice.id), "{member}");
    stage.talk(&room).await;
    stage.agree(&room).await;
}
