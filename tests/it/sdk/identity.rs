//! People who verify each other, devices that are added, and devices that are lost: our SDK on our servers.

use passeur_sdk::{
    Client, ClientError, Event, SendOptions,
    clock::SystemRng,
    crypto::{
        CryptoError, SecretStorageError, SecretStorageKey, Trust, Verification, VerificationStage,
    },
    expiry::ExpiryClass,
};
use passeur_tests::{
    Homeserver,
    ca::TestCa,
    sdk::SdkUser,
    server::TestServer,
    user::{PASSWORD, User, WAIT_MAX, escape},
};
use ruma::UserId;
use serde_json::json;

use super::{encrypted_room, say};

fn user_id(client: &Client) -> ruma::OwnedUserId {
    client.user_id().expect("a session")
}

/// Waits until a verification is where it is wanted.
async fn wait_stage(client: &Client, wanted: impl Fn(&VerificationStage) -> bool) -> Verification {
    let mut notifications = client.notifications();
    let search = async {
        loop {
            let all = client.verifications().await.unwrap();
            if let Some(found) = all.into_iter().find(|one| wanted(&one.stage)) {
                return found;
            }
            notifications.next().await.expect("the client");
        }
    };
    let found = tokio::time::timeout(WAIT_MAX, search).await;
    match found {
        Ok(found) => found,
        Err(_) => panic!(
            "the verification stands: {:?}",
            client.verifications().await
        ),
    }
}

/// From the request to the end, as two people do it who see the same.
async fn compare(asking: &Client, asked: &Client) {
    let request = wait_stage(asked, |stage| {
        *stage == VerificationStage::Requested { incoming: true }
    });
    let flow = request.await.flow_id;
    asked.accept_verification(&flow).await.unwrap();
    wait_stage(asking, |stage| *stage == VerificationStage::Ready).await;
    asking.start_verification(&flow).await.unwrap();
    let comparing =
        |stage: &VerificationStage| matches!(stage, VerificationStage::Comparing { .. });
    let (one, other) = (
        wait_stage(asking, comparing).await,
        wait_stage(asked, comparing).await,
    );
    assert_eq!(one.stage, other.stage, "both see the same");
    asking.confirm_verification(&flow).await.unwrap();
    asked.confirm_verification(&flow).await.unwrap();
    wait_stage(asking, |stage| *stage == VerificationStage::Done).await;
    wait_stage(asked, |stage| *stage == VerificationStage::Done).await;
}

fn trust(event: &Event) -> Trust {
    match &event.protection {
        passeur_sdk::Protection::Encrypted(encrypted) => encrypted.trust,
        other => panic!("not encrypted: {other:?}"),
    }
}

/// Waits until so many devices of a user are known, and their owner has signed all of them.
async fn wait_signed(client: &Client, user: &UserId, count: usize) {
    let mut notifications = client.notifications();
    let search = async {
        loop {
            let devices = client.devices(user).await.unwrap();
            let signed = |trust| matches!(trust, Trust::CrossSigned | Trust::Verified);
            if devices.len() == count && devices.iter().all(|device| signed(device.trust)) {
                return;
            }
            notifications.next().await.expect("the client");
        }
    };
    let found = tokio::time::timeout(WAIT_MAX, search).await;
    assert!(found.is_ok(), "{:?}", client.devices(user).await);
}

#[tokio::test]
async fn two_people_on_two_servers_verify_each_other_in_a_room() {
    let ca = TestCa::new();
    let (first, second) = (TestServer::start(&ca), TestServer::start(&ca));
    let alice = User::register(&first, "alice").await;
    let bob = User::register(&second, "bob").await;
    let room = encrypted_room(&alice).await;
    bob.join(&room, first.server_name()).await;
    let alice_sdk = SdkUser::login(&first, &alice.id, &ca.file()).await;
    let bob_sdk = SdkUser::login(&second, &bob.id, &ca.file()).await;
    for sdk in [&alice_sdk, &bob_sdk] {
        sdk.client.bootstrap_cross_signing(PASSWORD).await.unwrap();
        assert!(sdk.client.is_cross_signed().await.unwrap());
    }
    let members = [alice.id.as_str(), bob.id.as_str()];
    let alice_room = alice_sdk.wait_members(&room, &members).await;
    let bob_room = bob_sdk.wait_members(&room, &members).await;
    let (alice_id, bob_id) = (user_id(&alice_sdk.client), user_id(&bob_sdk.client));
    wait_signed(&bob_sdk.client, &alice_id, 1).await;
    wait_signed(&alice_sdk.client, &bob_id, 1).await;
    let event = say(&alice_room, &bob_room, "quetzal: before").await;
    assert_eq!(trust(&event), Trust::CrossSigned);
    alice_sdk
        .client
        .request_verification_in(&alice_room, &bob_id)
        .await
        .unwrap();
    compare(&alice_sdk.client, &bob_sdk.client).await;
    let event = say(&alice_room, &bob_room, "quetzal: after").await;
    assert_eq!(trust(&event), Trust::Verified);
    let event = say(&bob_room, &alice_room, "quetzal: and back").await;
    assert_eq!(trust(&event), Trust::Verified);
}

#[tokio::test]
async fn a_new_device_that_the_old_one_verifies_is_signed_and_reads_what_was() {
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
    wait_signed(&bob_sdk.client, &user_id(&old.client), 1).await;
    say(&bob_room, &old_room, "quetzal: said before").await;

    let new = SdkUser::login(&server, &alice.id, &ca.file()).await;
    // It must not take the identity's place without being told to.
    assert!(matches!(
        new.client.bootstrap_cross_signing(PASSWORD).await,
        Err(ClientError::Crypto(CryptoError::IdentityExists))
    ));
    let new_room = new.wait_members(&room, &members).await;
    let mut timeline = new_room.timeline();
    let alice_id = user_id(&new.client);
    new.client.request_verification(&alice_id).await.unwrap();
    compare(&new.client, &old.client).await;
    // The old device gives the new one its secrets, and the key that it asks for.
    let signed = async {
        let mut notifications = new.client.notifications();
        while !new.client.is_cross_signed().await.unwrap() {
            notifications.next().await.expect("the client");
        }
    };
    tokio::time::timeout(WAIT_MAX, signed)
        .await
        .expect("the new device is signed");
    let event = timeline.wait_for_text(WAIT_MAX, "quetzal: said before");
    let event = event.await.expect("the old message's key");
    // What the old device passed on proves nothing; what Bob himself sends does.
    assert_eq!(
        (trust(&event), event.is_authentic()),
        (Trust::Imported, false)
    );
    wait_signed(&bob_sdk.client, &alice_id, 2).await;
    let event = say(&bob_room, &new_room, "quetzal: said after").await;
    assert!(event.is_authentic());
}

/// Whoever keeps the account data puts another storage in place of the user's: the recovery key does not open it. Nor does another key
/// open the user's own.
async fn a_storage_in_its_place_is_noticed(alice: &User, new: &Client, recovery_key: &str) {
    let data = |name: &str| format!("/v3/user/{}/account_data/{name}", escape(&alice.id));
    let default = data("m.secret_storage.default_key");
    let genuine = alice.get(&default).await;
    let stranger = SecretStorageKey::random(&SystemRng);
    let description = stranger.describe(None, &SystemRng);
    alice
        .put(&data("m.secret_storage.key.other"), json!(description))
        .await;
    alice.put(&default, json!({"key": "other"})).await;
    let wrong = |opened: Result<(), ClientError>| {
        matches!(
            opened,
            Err(ClientError::SecretStorage(SecretStorageError::WrongKey))
        )
    };
    assert!(wrong(new.open_secret_storage(recovery_key).await.map(drop)));
    alice.put(&default, genuine).await;
    let typed = stranger.recovery_key();
    let typed = std::str::from_utf8(typed.expose()).unwrap();
    assert!(wrong(new.open_secret_storage(typed).await.map(drop)));
}

#[tokio::test]
async fn what_was_lost_with_a_device_comes_back_by_the_recovery_key() {
    let ca = TestCa::new();
    let server = TestServer::start(&ca);
    let alice = User::register(&server, "alice").await;
    let room = encrypted_room(&alice).await;
    let lost = SdkUser::login(&server, &alice.id, &ca.file()).await;
    lost.client.bootstrap_cross_signing(PASSWORD).await.unwrap();
    let lost_room = lost.wait_members(&room, &[&alice.id]).await;
    say(&lost_room, &lost_room, "quetzal: to be kept").await;
    let brief = SendOptions {
        expiry: Some(ExpiryClass::Hour1),
        ..SendOptions::default()
    };
    let sending = lost_room.send_text_with("quetzal: to be gone", brief);
    sending.await.unwrap().event_id(WAIT_MAX).await.unwrap();
    lost.client.create_backup().await.unwrap();
    let recovery_key = lost.client.create_secret_storage(None).await.unwrap();
    let recovery_key = std::str::from_utf8(recovery_key.expose()).unwrap();
    drop(lost);

    let new = SdkUser::login(&server, &alice.id, &ca.file()).await;
    let new_room = new.wait_members(&room, &[&alice.id]).await;
    a_storage_in_its_place_is_noticed(&alice, &new.client, recovery_key).await;
    assert!(!new.client.is_cross_signed().await.unwrap());
    let storage = new.client.open_secret_storage(recovery_key).await.unwrap();
    assert_eq!(storage.import().await.unwrap().len(), 4);
    assert!(new.client.is_cross_signed().await.unwrap());
    let mut timeline = new_room.timeline();
    let outcome = new.client.restore_backup().await.unwrap();
    assert_eq!((outcome.imported, outcome.refused), (1, 0));
    let event = timeline.wait_for_text(WAIT_MAX, "quetzal: to be kept");
    assert_eq!(trust(&event.await.expect("it waited")), Trust::Imported);
    // The new device puts its own keys into the same backup.
    say(&new_room, &new_room, "quetzal: said anew").await;
    new.client.back_up_keys().await.unwrap();
    let file = new.client.export_room_keys("correct horse").await.unwrap();
    let third = SdkUser::login(&server, &alice.id, &ca.file()).await;
    assert!(matches!(
        third.client.import_room_keys(&file, "battery staple").await,
        Err(ClientError::KeyExport(_))
    ));
    let outcome = third.client.import_room_keys(&file, "correct horse").await;
    assert_eq!(outcome.unwrap().imported, 2);
}
