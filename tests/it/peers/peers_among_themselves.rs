//! The foreign peers without Passeur: if these fail, the harness or the machine is at fault, not our server.

use passeur_tests::{
    Homeserver,
    ca::TestCa,
    foreign::{ForeignClient, Library},
    synapse::Synapse,
    user::User,
};
use serde_json::json;

#[tokio::test]
async fn two_synapses_federate() {
    let ca = TestCa::new();
    let (one, two) = (
        Synapse::start(&ca, "127.0.0.2"),
        Synapse::start(&ca, "127.0.0.3"),
    );
    let mut alice = User::register(&one, "alice").await;
    let mut bob = User::register(&two, "bob").await;
    let room = alice.create_room(json!({"preset": "public_chat"})).await;
    bob.join(&room, one.server_name()).await;
    alice.send_text(&room, "quetzal: from one to two").await;
    bob.wait_text(&room, "quetzal: from one to two").await;
    bob.send_text(&room, "quetzal: from two to one").await;
    alice.wait_text(&room, "quetzal: from two to one").await;
}

#[tokio::test]
async fn two_nio_clients_encrypt() {
    let ca = TestCa::new();
    let server = Synapse::start(&ca, "127.0.0.4");
    let alice = User::register(&server, "alice").await;
    let bob = User::register(&server, "bob").await;
    let encryption = json!({"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}});
    let room = alice
        .create_room(json!({"preset": "public_chat", "initial_state": [encryption]}))
        .await;
    let mut alice_nio = ForeignClient::login(Library::Nio, &server, &alice.id, None).await;
    let mut bob_nio = ForeignClient::login(Library::Nio, &server, &bob.id, None).await;
    bob_nio.join(&room).await;
    alice_nio.meet(&room, &[&bob.id, &alice.id]).await;
    bob_nio.meet(&room, &[&alice.id, &bob.id]).await;
    let asked = alice_nio
        .send_text(&room, "quetzal: can you read this?")
        .await;
    assert_eq!(bob_nio.read(&room, &asked).await.sender, alice.id);
    let answered = bob_nio.send_text(&room, "quetzal: yes").await;
    assert_eq!(alice_nio.read(&room, &answered).await.sender, bob.id);
}
