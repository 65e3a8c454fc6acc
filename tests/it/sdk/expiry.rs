//! What our SDK tells of the servers in a room whose messages expire: on our servers.

use passeur_tests::{
    Homeserver,
    ca::TestCa,
    sdk::SdkUser,
    server::TestServer,
    user::{User, WAIT_MAX},
};

use super::encrypted_room;

#[tokio::test]
async fn it_is_told_which_server_does_not_say_that_it_deletes() {
    let ca = TestCa::new();
    let (first, second) = (TestServer::start(&ca), TestServer::start(&ca));
    let mut third = TestServer::start(&ca);
    let alice = User::register(&first, "alice").await;
    let room = encrypted_room(&alice).await;
    let sdk = SdkUser::login(&first, &alice.id, &ca.file()).await;
    let bob = User::register(&second, "bob").await;
    bob.join(&room, first.server_name()).await;
    let known = sdk.wait_members(&room, &[&alice.id, &bob.id]).await;
    let support = known.expiry_support().await.unwrap();
    assert!(support.is_claimed_by_all(), "{support:?}");

    let carol = User::register(&third, "carol").await;
    carol.join(&room, first.server_name()).await;
    let members = [&*alice.id, &*bob.id, &*carol.id];
    sdk.wait_members(&room, &members).await;
    // It cannot be asked any more.
    third.kill();
    let support = known.expiry_support().await.unwrap();
    assert_eq!(support.unknown, [third.server_name()]);
    assert!(support.lacking.is_empty());
    assert!(support.words().contains(third.server_name()));

    // Whoever is not in the room is told nothing.
    let stranger = User::register(&first, "dora").await;
    let stranger = SdkUser::login(&first, &stranger.id, &ca.file()).await;
    let unknown = stranger.client.room(known.id());
    let refused = tokio::time::timeout(WAIT_MAX, unknown.expiry_support()).await;
    assert!(refused.unwrap().is_err());
}
