//! The key backup, and files of keys: what goes in, what comes out, and what a server can do about it.

use std::collections::BTreeMap;

use ruma::{OwnedRoomId, api::client::backup::RoomKeyBackup, serde::JsonObject};
use serde_json::{Value, json};
use vodozemac::pk_encryption::{PkDecryption, PkEncryption};

use super::world::*;
use crate::{
    clock::SystemRng,
    crypto::{
        BackupStatus, CryptoError, EncryptOptions, ImportOutcome, SecretName, Trust,
        decrypt_key_export,
    },
    expiry::ExpiryClass,
};

type Rooms = BTreeMap<OwnedRoomId, RoomKeyBackup>;

/// What the server has of a backup.
struct Held {
    auth_data: JsonObject,
    rooms: Rooms,
}

/// Alice makes a backup and puts everything into it.
fn back_up(alice: &mut Client, version: &str) -> Held {
    let staged = alice.machine.create_backup().unwrap();
    let algorithm: Value = serde_json::from_str(alice.keep(staged).json().get()).unwrap();
    let staged = alice.machine.backup_created(version).unwrap();
    alice.keep(staged);
    let mut rooms = Rooms::new();
    while let Some(upload) = alice.machine.next_backup().unwrap() {
        assert_eq!(upload.version, version);
        for (room_id, room) in upload.rooms.clone() {
            let all = rooms
                .entry(room_id)
                .or_insert_with(|| RoomKeyBackup::new(BTreeMap::new()));
            all.sessions.extend(room.sessions);
        }
        let staged = alice.machine.backed_up(&upload).unwrap();
        alice.keep(staged);
    }
    Held {
        auth_data: algorithm["auth_data"].as_object().unwrap().clone(),
        rooms,
    }
}

fn observe(client: &mut Client, version: &str, auth_data: &JsonObject) -> BackupStatus {
    let staged = client.machine.observe_backup(Some((version, auth_data)));
    client.keep(staged.unwrap())
}

fn restore(client: &mut Client, rooms: &Rooms) -> ImportOutcome {
    let staged = client.machine.restore_backup(rooms).unwrap();
    client.keep(staged).0
}

/// Alice, whom Bob has written something that lasts and something that does not, and her backup.
fn with_backup() -> (World, Client, Held, [Value; 2]) {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.publish_cross_signing(&mut alice);
    let lasts = world.send(&mut bob, &members, "lasts", EncryptOptions::default());
    let expires = world.send(&mut bob, &members, "brief", lasting(ExpiryClass::Hour1));
    world.sync(&mut alice);
    let held = back_up(&mut alice, "1");
    (world, alice, held, [lasts, expires])
}

/// A new device of Alice's that was given her secrets.
fn new_device(world: &mut World, alice: &Client, held: &Held) -> Client {
    let mut second = world.client("alice", "ALICE2");
    for (name, secret) in &alice.machine.export_secrets() {
        let staged = second.machine.import_secret(*name, secret).unwrap();
        second.keep(staged);
    }
    let enabled = BackupStatus::Enabled {
        version: "1".to_owned(),
        can_restore: true,
    };
    assert_eq!(observe(&mut second, "1", &held.auth_data), enabled);
    second
}

#[test]
fn a_new_device_restores_what_lasts_and_nothing_that_expires() {
    let (mut world, alice, held, [lasts, expires]) = with_backup();
    let mut second = new_device(&mut world, &alice, &held);
    let outcome = restore(&mut second, &held.rooms);
    assert_eq!((outcome.imported, outcome.refused), (1, 0));
    let decrypted = second.decrypt(&lasts, world.now_ms).unwrap();
    assert_eq!(decrypted.content["body"], "lasts");
    assert_eq!(decrypted.trust, Trust::Imported);
    assert!(second.decrypt(&expires, world.now_ms).is_err());
    second.restart();
    assert_eq!(second.body(&lasts, world.now_ms).unwrap(), "lasts");
    // It is in the backup already, and is not put in again as what it was.
    assert_eq!(restore(&mut second, &held.rooms).known, 1);
}

#[test]
fn nothing_is_put_in_twice_and_a_new_version_gets_everything() {
    let (_world, mut alice, held, _) = with_backup();
    assert!(alice.machine.next_backup().unwrap().is_none());
    alice.restart();
    assert!(alice.machine.next_backup().unwrap().is_none());
    assert_eq!(back_up(&mut alice, "2").rooms.len(), held.rooms.len());
}

#[test]
fn a_backup_that_somebody_else_put_in_place_of_ours_gets_nothing() {
    let (mut world, mut alice, held, _) = with_backup();
    let mut forged = held.auth_data.clone();
    let theirs = PkDecryption::new();
    forged.insert(
        "public_key".to_owned(),
        theirs.public_key().to_base64().into(),
    );
    // With our signatures kept, which no longer fit; with none; with one of a device that the server made.
    let mut unsigned = forged.clone();
    unsigned.remove("signatures");
    let mut ghost = world.client("alice", "GHOST1");
    let by_ghost = back_up(&mut ghost, "2").auth_data;
    world.sync(&mut alice);
    for (round, data) in [forged, unsigned, by_ghost].iter().enumerate() {
        let status = observe(&mut alice, "2", data);
        let expected = BackupStatus::Untrusted {
            version: "2".to_owned(),
            replaced: round == 0,
        };
        assert_eq!(status, expected, "{round}");
        assert!(alice.machine.next_backup().unwrap().is_none());
    }
    // The negative control: our own, under another version, is used again, and gets what came meanwhile.
    assert!(matches!(
        observe(&mut alice, "3", &held.auth_data),
        BackupStatus::Enabled {
            can_restore: true,
            ..
        }
    ));
    assert!(alice.machine.next_backup().unwrap().is_some());
    let staged = alice.machine.observe_backup(None).unwrap();
    assert_eq!(alice.keep(staged), BackupStatus::None);
    assert!(alice.machine.next_backup().unwrap().is_none());
}

#[test]
fn a_backup_that_our_identity_signed_is_used_without_its_private_key() {
    let (mut world, alice, held, _) = with_backup();
    let mut second = world.client("alice", "ALICE2");
    assert!(matches!(
        observe(&mut second, "1", &held.auth_data),
        BackupStatus::Untrusted { .. }
    ));
    let secrets = alice.machine.export_secrets();
    let master = &secrets[&SecretName::Master];
    let staged = second
        .machine
        .import_secret(SecretName::Master, master)
        .unwrap();
    second.keep(staged);
    let enabled = BackupStatus::Enabled {
        version: "1".to_owned(),
        can_restore: false,
    };
    assert_eq!(observe(&mut second, "1", &held.auth_data), enabled);
    assert!(matches!(
        second.machine.restore_backup(&held.rooms),
        Err(CryptoError::NoBackup)
    ));
    // Another backup's private key is not taken for this one's.
    let other = PkDecryption::new().secret_key().to_bytes();
    let other = vodozemac::base64_encode(other.as_slice())
        .into_bytes()
        .into();
    assert!(matches!(
        second.machine.import_secret(SecretName::Backup, &other),
        Err(CryptoError::SecretMismatch)
    ));
}

#[test]
fn an_entry_that_the_server_forged_raises_no_trust_and_takes_no_ones_place() {
    let (mut world, mut alice, mut held, [lasts, _]) = with_backup();
    let staged = alice.machine.update_tracked_users(&[user("bob")]).unwrap();
    alice.keep(staged);
    world.pump(&mut alice);
    // The server knows the public key, so it can put in a session of its own, as Bob's.
    let public = held.auth_data["public_key"].as_str().unwrap();
    let encryption =
        PkEncryption::from_key(vodozemac::Curve25519PublicKey::from_base64(public).unwrap());
    let mut session =
        vodozemac::megolm::GroupSession::new(vodozemac::megolm::SessionConfig::version_1());
    let inbound = vodozemac::megolm::InboundGroupSession::new(
        &session.session_key(),
        vodozemac::megolm::SessionConfig::version_1(),
    );
    let genuine = lasts["content"]["session_id"].as_str().unwrap().to_owned();
    for session_id in [session.session_id(), genuine] {
        let key = json!({
            "algorithm": "m.megolm.v1.aes-sha2", "forwarding_curve25519_key_chain": [],
            "sender_key": alice.machine.devices(&user("bob"))[0].curve25519,
            "sender_claimed_keys": {"ed25519": "x"},
            "session_key": inbound.export_at_first_known_index().to_base64(),
        });
        let message = encryption.encrypt(key.to_string().as_bytes()).unwrap();
        let entry = json!({
            "first_message_index": 0, "forwarded_count": 0, "is_verified": true,
            "session_data": {
                "ephemeral": message.ephemeral_key.to_base64(),
                "ciphertext": vodozemac::base64_encode(&message.ciphertext),
                "mac": vodozemac::base64_encode(&message.mac),
            },
        });
        let sessions = &mut held.rooms.get_mut(&room()).unwrap().sessions;
        sessions.insert(session_id, raw(&entry));
    }
    let outcome = restore(&mut alice, &held.rooms);
    assert_eq!((outcome.imported, outcome.refused), (1, 1));
    let plaintext =
        json!({ "type": "m.room.message", "content": text("forged"), "room_id": room() });
    let content = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "session_id": session.session_id(),
        "ciphertext": session.encrypt(plaintext.to_string().as_bytes()).to_base64(),
    });
    let forged = world.event(&user("bob"), &content);
    let decrypted = alice.decrypt(&forged, world.now_ms).unwrap();
    assert_eq!(
        (decrypted.trust, decrypted.trust.proves_sender()),
        (Trust::Imported, false)
    );
    // Bob's own session is what it was.
    let decrypted = alice.decrypt(&lasts, world.now_ms).unwrap();
    assert!(decrypted.trust.proves_sender());
}

#[test]
fn a_file_carries_keys_to_another_client_and_none_below_the_floor() {
    let (mut world, mut alice, _, [lasts, _]) = with_backup();
    let keys = alice.machine.export_room_keys().unwrap();
    // Fewer rounds than are used, so that the test is quick.
    let file = crate::crypto::key_export::encrypt_with(&keys, "correct horse", 10, &SystemRng);
    let keys = decrypt_key_export(&file, "correct horse").unwrap();
    let mut other = world.client("alice", "ALICE3");
    let staged = other.machine.import_room_keys(&keys).unwrap();
    assert_eq!(other.keep(staged).imported, 1);
    assert_eq!(other.body(&lasts, world.now_ms).unwrap(), "lasts");
    // A session whose end has come is not brought back by any file.
    let session_id = lasts["content"]["session_id"].as_str().unwrap();
    let key = other.machine.inbound.keys();
    let key = key.into_iter().find(|key| key.session_id == session_id);
    let key = key.unwrap().clone();
    let dead = crate::crypto::inbound::Floor {
        index_min: u32::MAX,
        dead: true,
    };
    other.machine.inbound.remove(&key);
    other.machine.floors.insert(
        crate::crypto::inbound::InboundKey::new(&user("bob"), session_id),
        dead,
    );
    let staged = other.machine.import_room_keys(&keys).unwrap();
    assert_eq!(other.keep(staged).refused, 1);
    let junk = b"[1,{},{\"algorithm\":1}]".to_vec().into();
    let staged = alice.machine.import_room_keys(&junk).unwrap();
    assert_eq!(alice.keep(staged).refused, 3);
    assert!(
        alice
            .machine
            .import_room_keys(&b"{}".to_vec().into())
            .is_err()
    );
}
