//! The line is cut, a server is down, a key is changed.

use passeur_tests::Homeserver;
use serde_json::{Value, json};

use super::{
    history::{chatter, read_the_same},
    stage::{Machines, Site, Software, Stage},
    state::empower,
};

/// How much is said while a server is down.
const MEANWHILE: usize = 200;

pub(super) async fn conflicting_state_is_settled_alike(mut stage: Stage) {
    let room = stage.shared_room().await;
    empower(&mut stage, &room, 50).await;
    stage.talk(&room).await;
    stage.machines.lock().await.part();
    for (user, topic) in [(&stage.alice, "quetzal east"), (&stage.bob, "quetzal west")] {
        let content = json!({ "topic": topic });
        user.set_state(&room, "m.room.topic", "", content).await;
        let own = json!({"quetzal": topic});
        user.set_state(&room, "org.example.mood", &user.id, own)
            .await;
    }
    stage.machines.lock().await.rejoin();
    stage.talk(&room).await;
    stage.agree(&room).await;
    let topic = stage.alice.state(&room, "m.room.topic", "").await;
    let topic = topic.expect("one of the two topics");
    let both = ["quetzal east", "quetzal west"];
    assert!(both.iter().any(|one| topic["topic"] == *one), "{topic}");
    // What did not conflict is all there.
    for user in [&stage.alice.id, &stage.bob.id] {
        let mood = stage.alice.state(&room, "org.example.mood", user).await;
        assert!(mood.is_ok(), "{mood:?}");
    }
}

pub(super) async fn a_demotion_undoes_what_was_done_meanwhile(mut stage: Stage) {
    let room = stage.shared_room().await;
    empower(&mut stage, &room, 50).await;
    stage.talk(&room).await;
    stage.machines.lock().await.part();
    let topic = json!({"topic": "quetzal order"});
    let Stage { alice, bob, .. } = &stage;
    alice
        .set_state(&room, "m.room.topic", "", topic.clone())
        .await;
    let mut levels = alice.state(&room, "m.room.power_levels", "").await.unwrap();
    levels["users"][&bob.id] = json!(0);
    alice
        .set_state(&room, "m.room.power_levels", "", levels)
        .await;
    bob.set_state(
        &room,
        "m.room.topic",
        "",
        json!({"topic": "quetzal revolt"}),
    )
    .await;
    bob.set_state(&room, "m.room.name", "", json!({"name": "quetzal revolt"}))
        .await;
    stage.machines.lock().await.rejoin();
    stage.talk(&room).await;
    stage.agree(&room).await;
    assert_eq!(
        stage.bob.state(&room, "m.room.topic", "").await.as_ref(),
        Ok(&topic)
    );
    let name = stage.bob.state(&room, "m.room.name", "").await;
    assert_eq!(name.map_err(|refusal| refusal.status), Err(404));
}

pub(super) async fn a_ban_holds_against_what_was_said_meanwhile(mut stage: Stage) {
    let room = stage.shared_room().await;
    let mut carol = stage.guest.person("carol").await;
    carol.join(&room, stage.host.server_name()).await;
    stage.alice.until_member(&room, &carol.id, "join").await;
    stage.talk(&room).await;
    stage.machines.lock().await.part();
    stage.alice.moderate(&room, "ban", &carol.id).await;
    let said = carol.send_text(&room, "quetzal: still here").await;
    stage.machines.lock().await.rejoin();
    stage.talk(&room).await;
    stage.bob.until_member(&room, &carol.id, "ban").await;
    stage.agree(&room).await;
    let seen = stage.alice.history(&room).await;
    let said = |event: &Value| event["event_id"] == *said;
    assert!(!seen.iter().any(said), "what she said was let through");
    let content = json!({"msgtype": "m.text", "body": "quetzal: and now?"});
    let path = format!("/v3/rooms/{room}/send/m.room.message/after");
    let refused = carol
        .request(reqwest::Method::PUT, &path, Some(content))
        .await;
    assert_eq!(refused.map_err(|refusal| refusal.status), Err(403));
}

/// Stops a server, does what shall be done meanwhile, and starts it again.
async fn while_down(machines: &mut Machines, which: &Site, meanwhile: impl Future<Output = ()>) {
    match which.software {
        Software::Passeur => machines.passeur.kill(),
        Software::Synapse => machines.synapse.stop(),
    }
    meanwhile.await;
    match which.software {
        Software::Passeur => machines.passeur.restart(),
        Software::Synapse => machines.synapse.restart(),
    }
}

pub(super) async fn who_was_down_catches_up(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let machines = stage.machines.clone();
    let mut machines = machines.lock().await;
    let meanwhile = chatter(&stage.alice, &room, MEANWHILE);
    while_down(&mut machines, &stage.guest, meanwhile).await;
    stage.talk(&room).await;
    read_the_same(&mut stage.bob, &stage.alice, &room, MEANWHILE).await;
    stage.agree(&room).await;
}

/// The host signs with a new key, and the guest believes what it says before and after.
pub(super) async fn a_new_key_is_believed(mut stage: Stage) {
    let room = stage.shared_room().await;
    stage.talk(&room).await;
    let before = published_keys(&stage).await;
    let machines = stage.machines.clone();
    let mut machines = machines.lock().await;
    let passeur = stage.host.software == Software::Passeur;
    if passeur {
        machines.passeur.rotate_key();
    } else {
        machines.synapse.rotate_key(&format!("b_{}", stage.version));
    }
    while_down(&mut machines, &stage.host, async {}).await;
    let after = published_keys(&stage).await;
    assert!(after.iter().any(|key| !before.contains(key)), "{after:?}");
    stage.talk(&room).await;
    // Who comes new gets events that were signed with either.
    let mut carol = stage.guest.person("carol").await;
    carol.join(&room, stage.host.server_name()).await;
    stage.alice.until_member(&room, &carol.id, "join").await;
    let text = "quetzal: a new key";
    stage.alice.send_text(&room, text).await;
    carol.wait_text(&room, text).await;
    stage.agree(&room).await;
}

/// The ids of the keys that the host signs with.
async fn published_keys(stage: &Stage) -> Vec<String> {
    let url = format!("https://{}/_matrix/key/v2/server", stage.host.server_name());
    let answer = stage.authority.http().get(url).send().await;
    let body = answer.expect("an answer").text().await.expect("its body");
    let document: Value = serde_json::from_str(&body).expect("a document of keys");
    let keys = document["verify_keys"].as_object().expect("keys");
    keys.keys().cloned().collect()
}
