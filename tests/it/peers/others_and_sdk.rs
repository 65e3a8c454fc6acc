//! matrix-nio and mautrix, and our SDK, decrypt each other's messages.

use std::path::Path;

use passeur_sdk::{Protection, Room};
use passeur_tests::{
    Homeserver,
    ca::TestCa,
    foreign::{ForeignClient, Library},
    sdk::SdkUser,
    server::TestServer,
    synapse::Synapse,
    user::{User, WAIT_MAX},
};
use serde_json::json;

/// Makes an encrypted room that anyone may join.
async fn encrypted_room(user: &User) -> String {
    let encryption = json!({
        "type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    });
    user.create_room(json!({"preset": "public_chat", "initial_state": [encryption]}))
        .await
}

/// Each says something twice, so that both the first message of a session and a later one are read.
pub(super) async fn talk(alice: &mut ForeignClient, bob: &Room) {
    let bob_id = bob.client().user_id().unwrap();
    let mut timeline = bob.timeline();
    for number in 1..=2 {
        let text = format!("quetzal: the other says {number}");
        alice.send_text(bob.id().as_str(), &text).await;
        let event = timeline
            .wait_for_text(WAIT_MAX, &text)
            .await
            .expect("the SDK reads the other's message");
        assert!(
            matches!(event.protection, Protection::Encrypted(_)),
            "{:?}",
            event.protection
        );
        assert_eq!(event.sender, alice.user_id.as_str());
        let text = format!("quetzal: the SDK says {number}");
        bob.send_text(&text)
            .await
            .unwrap()
            .event_id(WAIT_MAX)
            .await
            .unwrap();
        assert_eq!(alice.wait_decrypted(bob.id().as_str(), &text).await, bob_id);
    }
}

/// The whole story between two servers: the library's user at the first, ours at the second.
async fn between_two_servers(library: Library) {
    let ca = TestCa::new();
    let (first, second) = (TestServer::start(&ca), TestServer::start(&ca));
    let alice = User::register(&first, "alice").await;
    let bob = User::register(&second, "bob").await;
    let room = encrypted_room(&alice).await;
    bob.join(&room, first.server_name()).await;
    let mut other = ForeignClient::login(library, &first, &alice.id, Some(&ca.file())).await;
    let bob_sdk = SdkUser::login(&second, &bob.id, &ca.file()).await;
    let members = [alice.id.as_str(), bob.id.as_str()];
    let bob_room = bob_sdk.wait_members(&room, &members).await;
    other.trust(&room, &members).await;
    talk(&mut other, &bob_room).await;
}

/// The whole story on one server.
async fn on_one_server(
    library: Library,
    server: &impl Homeserver,
    root: &Path,
    other_root: Option<&Path>,
) {
    let alice = User::register(server, "alice").await;
    let bob = User::register(server, "bob").await;
    let room = encrypted_room(&alice).await;
    bob.join(&room, server.server_name()).await;
    let mut other = ForeignClient::login(library, server, &alice.id, other_root).await;
    let bob_sdk = SdkUser::login(server, &bob.id, root).await;
    let members = [alice.id.as_str(), bob.id.as_str()];
    let bob_room = bob_sdk.wait_members(&room, &members).await;
    // Each has a second device by the plain client, without keys, which must disturb nobody.
    other.trust(&room, &members).await;
    talk(&mut other, &bob_room).await;
}

#[tokio::test]
async fn they_read_each_other_on_synapse() {
    let ca = TestCa::new();
    let server = Synapse::start(&ca, "127.0.0.10");
    on_one_server(Library::Nio, &server, &ca.file(), None).await;
}

#[tokio::test]
async fn they_read_each_other_on_passeur() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    on_one_server(Library::Nio, &server, &ca.file(), Some(&ca.file())).await;
}

#[tokio::test]
async fn they_read_each_other_between_two_servers() {
    between_two_servers(Library::Nio).await;
}

#[tokio::test]
async fn mautrix_and_the_sdk_read_each_other_on_passeur() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let root = ca.file();
    on_one_server(Library::Mautrix, &server, &root, Some(&root)).await;
}

#[tokio::test]
async fn mautrix_and_the_sdk_read_each_other_between_two_servers() {
    between_two_servers(Library::Mautrix).await;
}
