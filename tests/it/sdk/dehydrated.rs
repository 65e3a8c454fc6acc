//! A device that waits on the server for a user who has no other: our SDK on our server.

use passeur_sdk::{
    Client, SendOptions,
    crypto::{DeviceInfo, Trust},
    expiry::ExpiryClass,
};
use passeur_tests::{
    Homeserver,
    ca::TestCa,
    sdk::SdkUser,
    server::TestServer,
    user::{PASSWORD, User, WAIT_MAX},
};
use ruma::{UserId, api::client::dehydrated_device::get_dehydrated_device};

use super::{encrypted_room, say};

/// Waits until a user has one device alone, which waits and is signed.
async fn wait_asleep(client: &Client, user: &str) {
    let user = UserId::parse(user).expect("a user id");
    let mut notifications = client.notifications();
    let search = async {
        loop {
            let devices = client.devices(&user).await.unwrap();
            let asleep = |device: &DeviceInfo| {
                device.dehydrated && matches!(device.trust, Trust::CrossSigned | Trust::Verified)
            };
            if devices.len() == 1 && devices.iter().all(asleep) {
                return;
            }
            notifications.next().await.expect("the client");
        }
    };
    let found = tokio::time::timeout(WAIT_MAX, search).await;
    assert!(found.is_ok(), "{:?}", client.devices(&user).await);
}

#[tokio::test]
async fn a_new_client_reads_what_came_while_no_other_was_there() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let alice = User::register(&server, "alice").await;
    let bob = User::register(&server, "bob").await;
    let room = encrypted_room(&alice).await;
    bob.join(&room, server.server_name()).await;
    let old = SdkUser::login(&server, &alice.id, &ca.file()).await;
    let bob_sdk = SdkUser::login(&server, &bob.id, &ca.file()).await;
    old.client.bootstrap_cross_signing(PASSWORD).await.unwrap();
    let members = [alice.id.as_str(), bob.id.as_str()];
    let old_room = old.wait_members(&room, &members).await;
    let bob_room = bob_sdk.wait_members(&room, &members).await;
    say(&bob_room, &old_room, "quetzal: while she is there").await;

    let recovery_key = old.client.create_secret_storage(None).await.unwrap();
    let recovery_key = std::str::from_utf8(recovery_key.expose()).unwrap();
    let storage = old.client.open_secret_storage(recovery_key).await.unwrap();
    assert_eq!(storage.rehydrate_device().await.unwrap(), None);
    storage.dehydrate_device().await.unwrap();
    drop(storage);
    old.client.logout().await.unwrap();
    drop(old);

    // Bob's client hears that one device is left, the one that waits, and gives it the key.
    wait_asleep(&bob_sdk.client, &alice.id).await;
    for text in ["quetzal: while she is away", "quetzal: still away"] {
        let sending = bob_room.send_text(text).await.unwrap();
        sending.event_id(WAIT_MAX).await.unwrap();
    }
    let brief = SendOptions {
        expiry: Some(ExpiryClass::Hour1),
        ..SendOptions::default()
    };
    let sending = bob_room.send_text_with("quetzal: to be gone", brief);
    sending.await.unwrap().event_id(WAIT_MAX).await.unwrap();

    let new = SdkUser::login(&server, &alice.id, &ca.file()).await;
    let new_room = new.wait_members(&room, &members).await;
    let mut timeline = new_room.timeline();
    let storage = new.client.open_secret_storage(recovery_key).await.unwrap();
    storage.import().await.unwrap();
    let count = storage.rehydrate_device().await.unwrap();
    assert!(matches!(count, Some(1..)), "{count:?}");
    let found = timeline
        .wait_for_text(WAIT_MAX, "quetzal: still away")
        .await;
    assert!(found.is_some(), "the key that came while she was away");
    // Another waits in its place, which has received nothing yet.
    assert_eq!(storage.rehydrate_device().await.unwrap(), Some(0));
    assert!(new.client.delete_dehydrated_device().await.unwrap());
    assert!(!new.client.delete_dehydrated_device().await.unwrap());
}

/// Whether a device waits on the server.
async fn one_waits(client: &Client) -> bool {
    let request = get_dehydrated_device::unstable::Request::new();
    client.request(request).await.is_ok()
}

#[tokio::test]
async fn a_new_identity_takes_the_device_away_that_the_old_one_signed() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let alice = User::register(&server, "alice").await;
    let sdk = SdkUser::login(&server, &alice.id, &ca.file()).await;
    sdk.client.bootstrap_cross_signing(PASSWORD).await.unwrap();
    let recovery_key = sdk.client.create_secret_storage(None).await.unwrap();
    let recovery_key = std::str::from_utf8(recovery_key.expose()).unwrap();
    let storage = sdk.client.open_secret_storage(recovery_key).await.unwrap();
    storage.dehydrate_device().await.unwrap();
    // It stays where nothing is replaced, and where the replacement fails.
    sdk.client.bootstrap_cross_signing(PASSWORD).await.unwrap();
    assert!(one_waits(&sdk.client).await);
    assert!(sdk.client.reset_cross_signing("wrong").await.is_err());
    assert!(one_waits(&sdk.client).await);
    sdk.client.reset_cross_signing(PASSWORD).await.unwrap();
    assert!(!one_waits(&sdk.client).await);
    // Where none waits there is nothing to delete, and the new identity signs another.
    sdk.client.reset_cross_signing(PASSWORD).await.unwrap();
    storage.dehydrate_device().await.unwrap();
    assert!(one_waits(&sdk.client).await);
}
