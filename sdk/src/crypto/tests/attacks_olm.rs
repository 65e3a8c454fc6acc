//! Attacks on what arrives for a device: each of the specification's checks broken singly, keys over the wrong channel, bad one-time keys.

use ruma::{DeviceId, serde::JsonObject};
use serde_json::{Value, json};
use vodozemac::{Ed25519SecretKey, Ed25519Signature};

use super::world::*;
use crate::crypto::{
    EncryptOptions, Notice, RoomKeyRefusal, RoomKeySettings, ToDeviceRefusal,
    signing::{into_raw, sign},
};

/// Curve25519 points of low order: whoever computes with them gets a secret that everyone knows.
const LOW_ORDER: [&str; 2] = [
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

/// Alice and Bob, who have talked, so that Alice has an Olm session with Bob and both know each other's devices.
fn acquainted() -> (World, Client, Client) {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    let staged = bob.machine.update_tracked_users(&members).unwrap();
    bob.keep(staged);
    world.sync(&mut bob);
    bob.notices.clear();
    (world, alice, bob)
}

/// The plaintext that Alice's device would honestly send to Bob's.
fn honest(alice: &Client, bob: &Client, event_type: &str, content: Value) -> Value {
    let device = &alice.machine.users[&bob.user_id()].devices[<&DeviceId>::from("BOB1")];
    let content: JsonObject = serde_json::from_value(content).unwrap();
    let text = alice
        .machine
        .olm_plaintext(&bob.user_id(), device, event_type, &content)
        .unwrap();
    serde_json::from_slice(text.expose()).unwrap()
}

/// Encrypts any plaintext from Alice's device to Bob's and puts it into his inbox, as from `sender`.
fn deliver(world: &mut World, alice: &mut Client, bob: &Client, sender: &str, plaintext: &Value) {
    let key = bob.machine.curve25519_key();
    let entry = alice
        .machine
        .olm
        .get_mut(&key)
        .unwrap()
        .sessions
        .first_mut()
        .unwrap();
    let (message_type, body) = entry
        .session
        .encrypt(plaintext.to_string())
        .unwrap()
        .to_parts();
    let body = vodozemac::base64_encode(body);
    let content = json!({
        "algorithm": "m.olm.v1.curve25519-aes-sha2",
        "sender_key": alice.machine.curve25519_key(),
        "ciphertext": { key: { "type": message_type, "body": body } },
    });
    world
        .device(bob)
        .inbox
        .push(json!({ "type": "m.room.encrypted", "sender": user(sender), "content": content }));
}

fn discarded(bob: &Client) -> Vec<ToDeviceRefusal> {
    let reason = |notice: &Notice| match notice {
        Notice::ToDeviceDiscarded { reason, .. } => Some(*reason),
        _ => None,
    };
    bob.notices.iter().filter_map(reason).collect()
}

fn refused_keys(bob: &Client) -> Vec<RoomKeyRefusal> {
    let reason = |notice: &Notice| match notice {
        Notice::RoomKeyRefused { reason, .. } => Some(*reason),
        _ => None,
    };
    bob.notices.iter().filter_map(reason).collect()
}

/// Device keys of ALICE1 under any user's name and with any keys, properly signed by what they name.
fn device_keys(
    name: &str,
    ed25519: &str,
    curve25519: &str,
    signer: impl FnOnce(&[u8]) -> Ed25519Signature,
) -> Value {
    let mut keys = json!({
        "user_id": user(name),
        "device_id": "ALICE1",
        "algorithms": [],
        "keys": { "ed25519:ALICE1": ed25519, "curve25519:ALICE1": curve25519 },
    });
    sign(keys.as_object_mut().unwrap(), &user(name), "ALICE1", signer).unwrap();
    keys
}

/// One part of an honest message replaced: who the server says sent it, what is replaced, by what, and what comes of it.
type Broken = (&'static str, &'static str, Value, ToDeviceRefusal);

fn broken_messages(alice: &Client) -> Vec<Broken> {
    use ToDeviceRefusal as Refusal;
    let other_key = Ed25519SecretKey::new();
    let other = other_key.public_key().to_base64();
    let (ed25519, curve25519) = (alice.machine.ed25519_key(), alice.machine.curve25519_key());
    let by_alice = |bytes: &[u8]| alice.machine.account.account.sign(bytes);
    let wrong_user = device_keys("carol", &ed25519, &curve25519, by_alice);
    let wrong_curve = device_keys("alice", &ed25519, &other, by_alice);
    let wrong_ed = device_keys("alice", &other, &curve25519, |bytes| other_key.sign(bytes));
    let forged = device_keys("alice", &ed25519, &curve25519, |bytes| {
        other_key.sign(bytes)
    });
    let carol = || json!(user("carol"));
    vec![
        ("alice", "/sender", carol(), Refusal::SenderMismatch),
        ("carol", "/type", json!("m.test"), Refusal::SenderMismatch),
        (
            "alice",
            "/keys/ed25519",
            json!(other),
            Refusal::SenderKeyMismatch,
        ),
        ("alice", "/recipient", carol(), Refusal::RecipientMismatch),
        (
            "alice",
            "/recipient_keys/ed25519",
            json!(other),
            Refusal::RecipientKeyMismatch,
        ),
        (
            "alice",
            "/sender_device_keys",
            wrong_user,
            Refusal::SenderDeviceKeys,
        ),
        (
            "alice",
            "/sender_device_keys",
            wrong_curve,
            Refusal::SenderDeviceKeys,
        ),
        (
            "alice",
            "/sender_device_keys",
            wrong_ed,
            Refusal::SenderDeviceKeys,
        ),
        (
            "alice",
            "/sender_device_keys",
            forged,
            Refusal::SenderDeviceKeys,
        ),
        (
            "alice",
            "/sender_device_keys/signatures",
            json!({}),
            Refusal::SenderDeviceKeys,
        ),
    ]
}

#[test]
fn each_check_of_an_olm_message_discards_what_breaks_it() {
    let (mut world, mut alice, mut bob) = acquainted();
    for (sender, path, value, reason) in broken_messages(&alice) {
        let mut plaintext = honest(&alice, &bob, "m.test", json!({}));
        *plaintext.pointer_mut(path).unwrap() = value;
        deliver(&mut world, &mut alice, &bob, sender, &plaintext);
        assert!(world.sync(&mut bob).to_device.is_empty(), "{path}");
        assert_eq!(discarded(&bob), [reason], "{path}");
        bob.notices.clear();
    }
    // The negative control: unbroken, it arrives.
    let plaintext = honest(&alice, &bob, "m.test", json!({ "a": 1 }));
    deliver(&mut world, &mut alice, &bob, "alice", &plaintext);
    let outcome = world.sync(&mut bob);
    assert_eq!(outcome.to_device[0].content["a"], 1);
    let encryption = outcome.to_device[0].encryption.as_ref().unwrap();
    assert_eq!(encryption.sender_device.as_ref().unwrap(), "ALICE1");
}

#[test]
fn a_replayed_olm_message_is_discarded() {
    let (mut world, mut alice, mut bob) = acquainted();
    let plaintext = honest(&alice, &bob, "m.test", json!({}));
    deliver(&mut world, &mut alice, &bob, "alice", &plaintext);
    let event = world.device(&bob).inbox[0].clone();
    assert_eq!(world.sync(&mut bob).to_device.len(), 1);
    world.device(&bob).inbox.push(event);
    assert_eq!(world.sync(&mut bob).to_device.len(), 0);
    assert_eq!(discarded(&bob), [ToDeviceRefusal::Undecryptable]);
}

#[test]
fn room_keys_and_secrets_are_taken_over_olm_only() {
    let (mut world, mut alice, mut bob) = acquainted();
    let session =
        vodozemac::megolm::GroupSession::new(vodozemac::megolm::SessionConfig::version_1());
    let key = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "session_id": session.session_id(),
        "session_key": session.session_key().to_base64(),
    });
    let known = bob.machine.inbound.len();
    // In the clear.
    world
        .device(&bob)
        .inbox
        .push(json!({ "type": "m.room_key", "sender": user("alice"), "content": key }));
    world.device(&bob).inbox.push(
        json!({ "type": "m.secret.send", "sender": user("alice"), "content": { "secret": "x" } }),
    );
    let outcome = world.sync(&mut bob);
    assert!(outcome.to_device.is_empty());
    assert_eq!(refused_keys(&bob), [RoomKeyRefusal::NotEncrypted]);
    // In a Megolm message that is passed off as a to-device message.
    let members = [alice.user_id(), bob.user_id()];
    let event = world.send(&mut alice, &members, "x", EncryptOptions::default());
    world.device(&bob).inbox.push(
        json!({ "type": "m.room.encrypted", "sender": user("alice"), "content": event["content"] }),
    );
    world.sync(&mut bob);
    assert_eq!(discarded(&bob), [ToDeviceRefusal::NotOlm]);
    // In a room event.
    let content = key.as_object().unwrap().clone();
    let options = EncryptOptions::default();
    let staged = alice
        .machine
        .encrypt_room_event(&room(), "m.room_key", &content, options, world.now_ms)
        .unwrap();
    let content = alice.keep(staged);
    let event = world.event(
        &alice.user_id(),
        &serde_json::from_str(content.json().get()).unwrap(),
    );
    assert_eq!(
        bob.body(&event, world.now_ms),
        Err(crate::crypto::Undecryptable::ForbiddenType)
    );
    assert_eq!(bob.machine.inbound.len(), known);
    // The negative control: over Olm it is taken.
    let plaintext = honest(&alice, &bob, "m.room_key", key);
    deliver(&mut world, &mut alice, &bob, "alice", &plaintext);
    assert_eq!(
        world.sync(&mut bob).new_room_keys,
        [(room(), session.session_id())]
    );
}

#[test]
fn forwarded_keys_are_refused_and_secrets_nobody_asked_for_are_dropped() {
    let (mut world, mut alice, mut bob) = acquainted();
    let known = bob.machine.inbound.len();
    for event_type in ["m.forwarded_room_key", "m.secret.send"] {
        let plaintext = honest(
            &alice,
            &bob,
            event_type,
            json!({
                "session_key": "x", "secret": "x", "request_id": "1", "room_id": room(), "session_id": "x",
                "sender_claimed_ed25519_key": "x",
            }),
        );
        deliver(&mut world, &mut alice, &bob, "alice", &plaintext);
    }
    assert!(world.sync(&mut bob).to_device.is_empty());
    assert_eq!(refused_keys(&bob), [RoomKeyRefusal::Forwarded]);
    assert_eq!(bob.machine.inbound.len(), known);
}

#[test]
fn a_room_key_under_anothers_id_is_malformed() {
    let (mut world, mut alice, mut bob) = acquainted();
    let config = vodozemac::megolm::SessionConfig::version_1;
    let (one, other) = (
        vodozemac::megolm::GroupSession::new(config()),
        vodozemac::megolm::GroupSession::new(config()),
    );
    let key = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "session_id": one.session_id(),
        "session_key": other.session_key().to_base64(),
    });
    let plaintext = honest(&alice, &bob, "m.room_key", key);
    deliver(&mut world, &mut alice, &bob, "alice", &plaintext);
    world.sync(&mut bob);
    assert_eq!(refused_keys(&bob), [RoomKeyRefusal::Malformed]);
}

/// Puts one one-time key in place of Bob's and says whether Alice's room key reached him.
fn reaches_with_key(make: impl FnOnce(&World, &Client) -> Value) -> bool {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    let key = make(&world, &bob);
    let device = world.device(&bob);
    device.one_time = [("signed_curve25519:AAAAAQ".to_owned(), key)].into();
    world
        .share(&mut alice, &members, &RoomKeySettings::default())
        .unwrap();
    world
        .device(&bob)
        .inbox
        .iter()
        .any(|event| event["type"] == "m.room.encrypted")
}

fn signed_one_time_key(bob: &Client, key: &str, signer: &str) -> Value {
    let mut object = JsonObject::from_iter([("key".to_owned(), key.into())]);
    sign(&mut object, &user(signer), "BOB1", |bytes| {
        bob.machine.account.account.sign(bytes)
    })
    .unwrap();
    let raw = into_raw::<Value>(object).unwrap();
    serde_json::from_str(raw.json().get()).unwrap()
}

#[test]
fn no_session_is_made_with_an_unsigned_wrongly_signed_or_low_order_key() {
    let good =
        vodozemac::Curve25519PublicKey::from(&vodozemac::Curve25519SecretKey::new()).to_base64();
    assert!(!reaches_with_key(|_, _| json!({ "key": good })));
    assert!(!reaches_with_key(|_, _| json!(good)));
    assert!(!reaches_with_key(|_, bob| signed_one_time_key(
        bob, &good, "mallory"
    )));
    assert!(!reaches_with_key(|_, bob| {
        let mut key = signed_one_time_key(bob, &good, "bob");
        key["key"] = json!(LOW_ORDER[0]);
        key
    }));
    for key in LOW_ORDER {
        assert!(
            !reaches_with_key(|_, bob| signed_one_time_key(bob, key, "bob")),
            "{key}"
        );
    }
    // The negative control.
    assert!(reaches_with_key(|_, bob| signed_one_time_key(
        bob, &good, "bob"
    )));
}

#[test]
fn a_pre_key_message_of_low_order_keys_decrypts_nothing() {
    let (mut world, mut alice, mut bob) = acquainted();
    let plaintext = honest(&alice, &bob, "m.test", json!({}));
    deliver(&mut world, &mut alice, &bob, "alice", &plaintext);
    let event = &mut world.device(&bob).inbox[0];
    let info = &mut event["content"]["ciphertext"][bob.machine.curve25519_key()];
    let mut bytes = vodozemac::base64_decode(info["body"].as_str().unwrap()).unwrap();
    // A pre-key message: version, then the one-time, base and identity keys, each of two bytes of header and 32 of key.
    bytes[37..69].fill(0);
    info["body"] = json!(vodozemac::base64_encode(bytes));
    world.sync(&mut bob);
    assert_eq!(discarded(&bob).len(), 1);
}

#[test]
fn a_broken_session_is_replaced_at_most_once_an_hour() {
    let (mut world, mut alice, mut bob) = acquainted();
    let garbage = |world: &mut World, alice: &mut Client, bob: &Client| {
        let plaintext = honest(alice, bob, "m.test", json!({}));
        deliver(world, alice, bob, "alice", &plaintext);
        let event = world.device(bob).inbox.last_mut().unwrap();
        let info = &mut event["content"]["ciphertext"][bob.machine.curve25519_key()];
        let mut bytes = vodozemac::base64_decode(info["body"].as_str().unwrap()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        info["body"] = json!(vodozemac::base64_encode(bytes));
    };
    let before = world.device(&alice).one_time.len();
    for _ in 0..3 {
        garbage(&mut world, &mut alice, &bob);
        world.sync(&mut bob);
    }
    assert_eq!(world.device(&alice).one_time.len(), before - 1);
    // Alice learns of the new session, and uses it from then on.
    assert_eq!(world.device(&alice).inbox.len(), 1);
    world.sync(&mut alice);
    assert_eq!(
        alice.machine.olm[&bob.machine.curve25519_key()]
            .sessions
            .len(),
        2
    );
    world.now_ms += 60 * 60 * 1000;
    garbage(&mut world, &mut alice, &bob);
    bob.restart();
    world.sync(&mut bob);
    assert_eq!(world.device(&alice).inbox.len(), 1);
}

#[test]
fn a_one_time_key_given_out_twice_serves_the_first_and_the_second_recovers() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let mut carol = world.client("carol", "CAROL1");
    let all = [members[0].clone(), members[1].clone(), carol.user_id()];
    let keys = world.device(&bob).one_time.clone();
    world
        .share(&mut alice, &all, &RoomKeySettings::default())
        .unwrap();
    world.device(&bob).one_time = keys;
    world
        .share(&mut carol, &all, &RoomKeySettings::default())
        .unwrap();
    let staged = bob.machine.update_tracked_users(&all).unwrap();
    bob.keep(staged);
    world.pump(&mut bob);
    let outcome = world.sync(&mut bob);
    assert_eq!(outcome.new_room_keys.len(), 1);
    assert_eq!(discarded(&bob), [ToDeviceRefusal::Undecryptable]);
    // Bob has made a new session; what Carol sends next arrives over it.
    world.sync(&mut carol);
    let staged = carol
        .machine
        .room_member_left(&room(), &user("nobody"))
        .unwrap();
    carol.keep(staged);
    let event = world.send(&mut carol, &all, "hello", EncryptOptions::default());
    world.sync(&mut bob);
    assert_eq!(bob.body(&event, world.now_ms).unwrap(), "hello");
}

/// Puts a device of Mallory's on the server that claims Bob's Curve25519 key; gives the key that it signs with.
fn claim_bobs_key(world: &mut World, bob: &Client) -> Ed25519SecretKey {
    let evil = Ed25519SecretKey::new();
    let mallory = user("mallory");
    let signed = |content: Value| {
        let mut content = content.as_object().unwrap().clone();
        sign(&mut content, &mallory, "EVIL1", |bytes| evil.sign(bytes)).unwrap();
        Value::Object(content)
    };
    let keys = signed(json!({
        "user_id": mallory,
        "device_id": "EVIL1",
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            "ed25519:EVIL1": evil.public_key().to_base64(),
            "curve25519:EVIL1": bob.machine.curve25519_key(),
        },
    }));
    let point = vodozemac::Curve25519PublicKey::from(&vodozemac::Curve25519SecretKey::new());
    let one_time = signed(json!({"key": point.to_base64()}));
    let device = world
        .devices
        .entry((mallory.clone(), "EVIL1".into()))
        .or_default();
    device.keys = keys;
    device
        .one_time
        .insert("signed_curve25519:AAAAAQ".to_owned(), one_time);
    world.changes.push(mallory);
    evil
}

#[test]
fn a_device_that_claims_anothers_key_does_not_come_between() {
    let (mut world, mut alice, mut bob) = acquainted();
    let evil = claim_bobs_key(&mut world, &bob);
    let members = [alice.user_id(), bob.user_id(), user("mallory")];
    let staged = alice.machine.update_tracked_users(&members).unwrap();
    alice.keep(staged);
    world.pump(&mut alice);
    // Something that does not decrypt, from "her" key: Alice makes a new session with her device.
    let plaintext = json!({});
    deliver(&mut world, &mut bob, &alice, "mallory", &plaintext);
    let event = world.device(&alice).inbox.last_mut().unwrap();
    let info = &mut event["content"]["ciphertext"][alice.machine.curve25519_key()];
    let mut bytes = vodozemac::base64_decode(info["body"].as_str().unwrap()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    info["body"] = json!(vodozemac::base64_encode(bytes));
    world.sync(&mut alice);
    let sessions = &alice.machine.olm[&bob.machine.curve25519_key()].sessions;
    let evil_key = evil.public_key().to_base64();
    assert!(
        sessions
            .iter()
            .any(|entry| entry.signer.as_ref() == Some(&evil_key)),
        "the attack has come as far as a session under Bob's key"
    );
    // The next room key still reaches Bob.
    alice.restart();
    let staged = alice
        .machine
        .room_member_left(&room(), &user("nobody"))
        .unwrap();
    alice.keep(staged);
    let pair = [alice.user_id(), bob.user_id()];
    let event = world.send(&mut alice, &pair, "still here", EncryptOptions::default());
    world.sync(&mut bob);
    assert_eq!(bob.body(&event, world.now_ms).unwrap(), "still here");
    assert!(discarded(&bob).is_empty());
}
