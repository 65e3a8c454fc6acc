//! Passeur and Synapse in one room, over TLS federation.

use passeur_tests::{Homeserver, ca::TestCa, server::TestServer, synapse::Synapse, user::User};
use serde_json::{Value, json};

/// A Passeur with Alice and a Synapse with Bob.
struct Pair {
    // Its files must outlive a restart of the server.
    _ca: TestCa,
    passeur: TestServer,
    synapse: Synapse,
    alice: User,
    bob: User,
}

impl Pair {
    async fn start(synapse_address: &str) -> Self {
        let ca = TestCa::new();
        let (passeur, synapse) = (TestServer::start(&ca), Synapse::start(&ca, synapse_address));
        let alice = User::register(&passeur, "alice").await;
        let bob = User::register(&synapse, "bob").await;
        Self {
            _ca: ca,
            passeur,
            synapse,
            alice,
            bob,
        }
    }

    /// Each says something, and the other hears it under the right name.
    async fn talk(&mut self, room: &str) {
        let (alice, bob) = (&mut self.alice, &mut self.bob);
        alice.send_text(room, "quetzal: from Passeur").await;
        assert_eq!(
            bob.wait_text(room, "quetzal: from Passeur").await["sender"],
            json!(alice.id)
        );
        bob.send_text(room, "quetzal: from Synapse").await;
        assert_eq!(
            alice.wait_text(room, "quetzal: from Synapse").await["sender"],
            json!(bob.id)
        );
    }
}

#[tokio::test]
async fn synapse_joins_a_room_of_passeur() {
    let mut pair = Pair::start("127.0.0.5").await;
    for version in ["10", "11", "12"] {
        let room = pair
            .alice
            .create_room(json!({"preset": "public_chat", "room_version": version}))
            .await;
        pair.bob.join(&room, pair.passeur.server_name()).await;
        pair.talk(&room).await;
    }
}

#[tokio::test]
async fn passeur_joins_a_room_of_synapse() {
    let mut pair = Pair::start("127.0.0.6").await;
    for version in ["10", "11", "12"] {
        let room = pair
            .bob
            .create_room(json!({"preset": "public_chat", "room_version": version}))
            .await;
        pair.alice.join(&room, pair.synapse.server_name()).await;
        pair.talk(&room).await;
    }
}

#[tokio::test]
async fn invites_travel_both_ways() {
    let mut pair = Pair::start("127.0.0.7").await;
    let room = pair
        .alice
        .create_room(json!({"preset": "private_chat"}))
        .await;
    pair.alice.invite(&room, &pair.bob.id).await;
    pair.bob.wait_invite(&room).await;
    pair.bob.join(&room, pair.passeur.server_name()).await;
    pair.talk(&room).await;
    let room = pair
        .bob
        .create_room(json!({"preset": "private_chat"}))
        .await;
    pair.bob.invite(&room, &pair.alice.id).await;
    pair.alice.wait_invite(&room).await;
    pair.alice.join(&room, pair.synapse.server_name()).await;
    pair.talk(&room).await;
}

#[tokio::test]
async fn a_redaction_by_either_is_seen_by_the_other() {
    let mut pair = Pair::start("127.0.0.8").await;
    let room = pair
        .alice
        .create_room(json!({"preset": "public_chat"}))
        .await;
    pair.bob.join(&room, pair.passeur.server_name()).await;
    let by_alice = pair.alice.send_text(&room, "quetzal: regretted here").await;
    let by_bob = pair.bob.send_text(&room, "quetzal: regretted there").await;
    pair.bob.wait_text(&room, "quetzal: regretted here").await;
    pair.alice
        .wait_text(&room, "quetzal: regretted there")
        .await;
    let path = |event: &str| format!("/v3/rooms/{room}/redact/{event}/r1");
    pair.alice.put(&path(&by_alice), json!({})).await;
    pair.bob.put(&path(&by_bob), json!({})).await;
    let redacts = |target: String| {
        move |event: &Value| {
            event["type"] == "m.room.redaction" && event.to_string().contains(&target)
        }
    };
    pair.bob.wait_event(&room, redacts(by_alice.clone())).await;
    pair.alice.wait_event(&room, redacts(by_bob.clone())).await;
    for (user, event) in [(&pair.bob, &by_alice), (&pair.alice, &by_bob)] {
        let seen = user.get(&format!("/v3/rooms/{room}/event/{event}")).await;
        assert_eq!(seen["content"], json!({}));
    }
}

#[tokio::test]
async fn what_synapse_said_while_passeur_was_down_arrives() {
    let mut pair = Pair::start("127.0.0.9").await;
    let room = pair.bob.create_room(json!({"preset": "public_chat"})).await;
    pair.alice.join(&room, pair.synapse.server_name()).await;
    pair.passeur.kill();
    for number in 0..15 {
        pair.bob
            .send_text(&room, &format!("quetzal: number {number}"))
            .await;
    }
    pair.passeur.restart();
    pair.bob.send_text(&room, "quetzal: are you back?").await;
    pair.alice.wait_text(&room, "quetzal: are you back?").await;
    let history = pair.alice.history(&room).await;
    for number in 0..15 {
        let body = format!("quetzal: number {number}");
        let times = history
            .iter()
            .filter(|event| event["content"]["body"] == json!(body))
            .count();
        assert_eq!(times, 1, "{body}");
    }
}
