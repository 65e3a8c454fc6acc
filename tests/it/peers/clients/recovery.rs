//! Secret storage and key backup: what one client wrote and the other opens.

use passeur_sdk::crypto::Trust;
use passeur_tests::{foreign::Library, user::PASSWORD};

use super::stage::{Stage, encrypted_room, hear, say, trust, wait_signed};

/// A person who had the foreign client takes ours, and has everything back by the recovery key.
pub(super) async fn we_open_their_storage(stage: Stage) {
    let alice = stage.theirs.person("alice").await;
    let room_id = encrypted_room(&alice).await;
    let mut other = stage.foreign(&alice.id).await;
    other.meet(&room_id, &[&alice.id]).await;
    let sent = other.send_text(&room_id, "quetzal: to be kept").await;
    other.make_identity().await;
    let recovery_key = other.keep().await;
    drop(other);

    let sdk = stage.sdk(&alice.id).await;
    let room = sdk.wait_members(&room_id, &[&alice.id]).await;
    assert!(!sdk.client.is_cross_signed().await.expect("a session"));
    let storage = sdk.client.open_secret_storage(&recovery_key).await;
    let secrets = storage.expect("their storage").import().await;
    assert!(secrets.expect("their secrets").len() >= 3);
    assert!(sdk.client.is_cross_signed().await.expect("a session"));
    // mautrix has no backup.
    if stage.kind != Library::Mautrix {
        let mut timeline = room.timeline();
        let outcome = sdk.client.restore_backup().await.expect("their backup");
        assert_eq!((outcome.imported, outcome.refused), (1, 0));
        let event = hear(&mut timeline, &sent).await;
        assert_eq!(event.body(), Some("quetzal: to be kept"));
        assert_eq!(trust(&event), Trust::Imported);
    }
}

/// The same the other way round.
pub(super) async fn they_open_our_storage(stage: Stage) {
    let alice = stage.theirs.person("alice").await;
    let room_id = encrypted_room(&alice).await;
    let sdk = stage.sdk(&alice.id).await;
    let room = sdk.wait_members(&room_id, &[&alice.id]).await;
    let client = &sdk.client;
    client
        .bootstrap_cross_signing(PASSWORD)
        .await
        .expect("an identity");
    let sent = say(&room, "quetzal: to be kept").await;
    client.create_backup().await.expect("a backup");
    let recovery_key = client.create_secret_storage(None).await.expect("a storage");
    let recovery_key = std::str::from_utf8(recovery_key.expose()).expect("text");

    let mut other = stage.foreign(&alice.id).await;
    other.open_storage(recovery_key).await;
    wait_signed(client, &alice.id, 1).await;
    if stage.kind != Library::Mautrix {
        assert_eq!(other.restore().await, 1);
        let read = other.read(&room_id, &sent).await;
        assert_eq!(read.content["body"], "quetzal: to be kept");
    }
}
