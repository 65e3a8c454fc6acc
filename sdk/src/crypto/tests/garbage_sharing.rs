//! Whatever a server makes of verifications, secrets, backups and files, nothing is verified, taken or broken by it.

use proptest::prelude::*;
use ruma::serde::JsonObject;
use serde_json::{Value, json};

use super::{
    garbage::{junk, spoil},
    verification::{begin, leave_alone},
    world::*,
};
use crate::{
    clock::SystemRng,
    crypto::{
        BackupStatus, SecretBytes, SecretStorageKey, Trust, VerificationStage, decrypt_key_export,
    },
};

/// The messages of a verification, secrets and key requests that a server can write.
fn messages(now_ms: u64) -> Vec<(&'static str, Value)> {
    let flow = |mut fields: Value| {
        fields["transaction_id"] = "flow".into();
        fields
    };
    let device = || json!({"from_device": "BOB1", "methods": ["m.sas.v1"], "timestamp": now_ms});
    let body = json!({"algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "session_id": "x"});
    vec![
        ("m.key.verification.request", flow(device())),
        ("m.key.verification.ready", flow(device())),
        (
            "m.key.verification.start",
            flow(json!({
                "from_device": "BOB1", "method": "m.sas.v1", "hashes": ["sha256"],
                "key_agreement_protocols": ["curve25519-hkdf-sha256"],
                "message_authentication_codes": ["hkdf-hmac-sha256.v2"], "short_authentication_string": ["emoji"],
            })),
        ),
        (
            "m.key.verification.accept",
            flow(json!({
                "commitment": "x", "hash": "sha256", "key_agreement_protocol": "curve25519-hkdf-sha256",
                "message_authentication_code": "hkdf-hmac-sha256.v2", "short_authentication_string": ["emoji"],
            })),
        ),
        ("m.key.verification.key", flow(json!({"key": "x"}))),
        (
            "m.key.verification.mac",
            flow(json!({"keys": "x", "mac": {"ed25519:BOB1": "x"}})),
        ),
        ("m.key.verification.done", flow(json!({}))),
        ("m.key.verification.cancel", flow(json!({"code": "m.user"}))),
        (
            "m.secret.request",
            json!({
                "action": "request", "name": "m.cross_signing.master", "request_id": "1",
                "requesting_device_id": "ALICE1",
            }),
        ),
        (
            "m.room_key_request",
            json!({"action": "request", "requesting_device_id": "ALICE1", "request_id": "1", "body": body}),
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_message_of_a_server_verifies_anybody(kind in 0_usize..10, place in 0_usize..8, junk in junk(), comparing in any::<bool>()) {
        let (mut world, mut alice, mut bob, _) = alice_and_bob();
        world.publish_cross_signing(&mut alice);
        world.publish_cross_signing(&mut bob);
        if comparing {
            begin(&mut world, &mut alice, &mut bob, leave_alone);
        }
        let (name, mut content) = messages(world.now_ms)[kind].clone();
        spoil(&mut content, &mut place.clone(), &junk);
        for sender in [bob.user_id(), alice.user_id()] {
            let event = json!({ "type": name, "sender": sender, "content": content });
            world.device(&alice).inbox.push(event);
        }
        world.sync(&mut alice);
        let staged = alice.machine.update_tracked_users(&[bob.user_id()]).unwrap();
        alice.keep(staged);
        world.pump(&mut alice);
        prop_assert_ne!(alice.machine.devices(&bob.user_id())[0].trust, Trust::Verified);
        let done = alice.machine.verifications().iter().any(|one| one.stage == VerificationStage::Done);
        prop_assert!(!done);
        prop_assert!(world.device(&bob).inbox.iter().all(|event| event["type"] != "m.room.encrypted"));
    }

    #[test]
    fn no_account_data_or_backup_or_file_is_taken_for_what_it_is_not(place in 0_usize..6, junk in junk(), text in "\\PC{0,200}") {
        let key = SecretStorageKey::random(&SystemRng);
        let secret = SecretBytes::new(b"secret".to_vec());
        let mut sealed = Value::Object(key.encrypt("k", "name", &secret, &SystemRng));
        let mut description = Value::Object(key.describe(None, &SystemRng));
        for value in [&mut sealed, &mut description] {
            spoil(value, &mut (place + 1), &junk);
        }
        let (sealed, description) = (sealed.as_object().unwrap(), description.as_object().unwrap());
        let _ = SecretStorageKey::open(&text, description);
        if let Ok(Some(opened)) = key.decrypt("k", "name", sealed) {
            // The initialisation vector is covered by nothing; everything else is.
            prop_assert_eq!(opened.expose().len(), 6);
        }
        prop_assert!(decrypt_key_export(&text, "x").is_err());
        let (mut world, mut alice, ..) = alice_and_bob();
        let auth_data = JsonObject::from_iter([("public_key".to_owned(), junk.clone()), ("signatures".to_owned(), junk)]);
        let staged = alice.machine.observe_backup(Some(("1", &auth_data))).unwrap();
        prop_assert!(matches!(alice.keep(staged), BackupStatus::Untrusted { .. }), "an unsigned backup was trusted");
        world.pump(&mut alice);
    }
}
