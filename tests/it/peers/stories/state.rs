//! What a room is: its state, who may change it, which servers it speaks with, and its successor.

use passeur_tests::{Homeserver, user::escape};
use serde_json::{Value, json};

use super::stage::{Stage, unique};

pub(super) async fn state_is_changed_by_who_has_the_power(mut stage: Stage) {
    let room = stage.shared_room().await;
    let topic = json!({"topic": "quetzal feathers"});
    stage
        .alice
        .set_state(&room, "m.room.topic", "", topic.clone())
        .await;
    stage
        .bob
        .until_state(&room, "m.room.topic", "", &topic)
        .await;
    let refused = stage
        .bob
        .refused_state(&room, "m.room.topic", "", json!({"topic": "quetzal eggs"}))
        .await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
    empower(&mut stage, &room, 50).await;
    let topic = json!({"topic": "quetzal nests"});
    stage
        .bob
        .set_state(&room, "m.room.topic", "", topic.clone())
        .await;
    stage
        .alice
        .until_state(&room, "m.room.topic", "", &topic)
        .await;
    // Nobody may take what is above.
    let levels = levels_with(&stage, &room, 100).await;
    let refused = stage
        .bob
        .refused_state(&room, "m.room.power_levels", "", levels)
        .await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
    // State of a person's own, which the room's version leaves to that person.
    let own = stage.bob.id.clone();
    let content = json!({"quetzal": true});
    stage
        .bob
        .set_state(&room, "org.example.mood", &own, content.clone())
        .await;
    stage
        .alice
        .until_state(&room, "org.example.mood", &own, &content)
        .await;
    stage.talk(&room).await;
    stage.agree(&room).await;
}

/// The room's power levels with another one for Bob.
async fn levels_with(stage: &Stage, room: &str, level: i64) -> Value {
    let levels = stage.alice.state(room, "m.room.power_levels", "").await;
    let mut levels = levels.expect("power levels");
    levels["users"][&stage.bob.id] = json!(level);
    levels
}

/// Alice gives Bob a power level, and Bob's server hears of it.
pub(super) async fn empower(stage: &mut Stage, room: &str, level: i64) {
    let levels = levels_with(stage, room, level).await;
    stage
        .alice
        .set_state(room, "m.room.power_levels", "", levels.clone())
        .await;
    stage
        .bob
        .until_state(room, "m.room.power_levels", "", &levels)
        .await;
}

pub(super) async fn a_room_is_followed_to_its_successor(mut stage: Stage) {
    let localpart = unique("quetzal_old_place");
    let alias = format!("#{localpart}:{}", stage.host.server_name());
    let body = json!({
        "preset": "public_chat", "room_alias_name": localpart, "name": "quetzal place",
    });
    let (old, host) = (stage.room(body).await, stage.host.server_name().to_owned());
    stage.bob.join(&old, &host).await;
    stage.alice.until_member(&old, &stage.bob.id, "join").await;
    let version = if stage.version == "12" { "11" } else { "12" };
    let answer = stage
        .alice
        .post(
            &format!("/v3/rooms/{}/upgrade", escape(&old)),
            json!({"new_version": version}),
        )
        .await;
    let new = answer["replacement_room"].as_str().expect("a room's id");
    let told = stage
        .bob
        .wait_event(&old, |event| event["type"] == "m.room.tombstone")
        .await;
    assert_eq!(told["content"]["replacement_room"], json!(new));
    stage.bob.join(new, &host).await;
    stage.alice.until_member(new, &stage.bob.id, "join").await;
    let create = stage.bob.state(new, "m.room.create", "").await;
    let create = create.expect("the new room's beginning");
    assert_eq!(create["predecessor"]["room_id"], json!(old), "{create}");
    assert_eq!(create["room_version"], json!(version));
    let name = stage.bob.state(new, "m.room.name", "").await;
    assert_eq!(name, Ok(json!({"name": "quetzal place"})));
    let found = stage
        .bob
        .get(&format!("/v3/directory/room/{}", escape(&alias)))
        .await;
    assert_eq!(found["room_id"], json!(new));
    stage
        .bob
        .until("the old room to be closed", async |bob| {
            let levels = bob.state(&old, "m.room.power_levels", "").await;
            let levels = levels.map_err(|refusal| refusal.body)?;
            let closed = levels["events_default"].as_i64() >= Some(50);
            closed.then_some(()).ok_or_else(|| levels.to_string())
        })
        .await;
    stage.talk(new).await;
    stage.agree(new).await;
}

pub(super) async fn a_server_that_is_shut_out_is_not_heard(mut stage: Stage) {
    let (room, other) = (stage.shared_room().await, stage.shared_room().await);
    stage.talk(&room).await;
    let guest = stage.guest.server_name().to_owned();
    let (address, _) = guest.rsplit_once(':').expect("an address and a port");
    let acl = json!({"allow": ["*"], "deny": [address], "allow_ip_literals": true});
    stage
        .alice
        .set_state(&room, "m.room.server_acl", "", acl.clone())
        .await;
    stage
        .bob
        .until_state(&room, "m.room.server_acl", "", &acl)
        .await;
    let unheard = stage.bob.send_text(&room, "quetzal: unheard").await;
    // What is said after it, elsewhere, has come.
    stage.talk(&other).await;
    stage.talk(&other).await;
    let refusal = stage.alice.event(&room, &unheard).await;
    assert!(refusal.is_err(), "{refusal:?}");
    // Nor is anybody let in from there.
    let acl = json!({"type": "m.room.server_acl", "state_key": "", "content": acl});
    let closed = stage
        .room(json!({"preset": "public_chat", "initial_state": [acl]}))
        .await;
    let refused = stage
        .bob
        .refused_join(&closed, stage.host.server_name())
        .await;
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (403, "M_FORBIDDEN")
    );
}
