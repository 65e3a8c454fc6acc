//! A device that waits without a client: made, written to by others, and woken by the next client of its user.

use ruma::{
    OwnedDeviceId,
    api::client::dehydrated_device::{
        DehydratedDeviceData, put_dehydrated_device::unstable as put,
    },
    serde::Raw,
};
use serde_json::{Value, json};

use super::world::*;
use crate::{
    clock::SystemRng,
    crypto::{
        CryptoError, DehydrationKey, EncryptOptions, RoomKeySettings, SecretName, Undecryptable,
    },
    expiry::ExpiryClass,
};

type Data = Raw<DehydratedDeviceData>;

fn value<T>(raw: &Raw<T>) -> Value {
    serde_json::from_str(raw.json().get()).unwrap()
}

/// The server takes a dehydrated device of Alice's.
fn put(world: &mut World, request: &put::Request) {
    let name = (user("alice"), request.device_id.clone());
    let key = |(id, raw): (&ruma::OwnedOneTimeKeyId, &Raw<_>)| (id.to_string(), value(raw));
    let device = ServerDevice {
        keys: value(&request.device_keys),
        one_time: request.one_time_keys.iter().map(key).collect(),
        fallback: request.fallback_keys.iter().map(key).collect(),
        ..ServerDevice::default()
    };
    world.devices.insert(name, device);
    world.changes.push(user("alice"));
}

struct Asleep {
    key: DehydrationKey,
    id: OwnedDeviceId,
    data: Data,
}

/// Alice has a device wait, and no other is left. Gives the secrets of her identity besides.
fn asleep() -> (World, Client, Asleep, Client) {
    let (mut world, mut alice, bob, _) = alice_and_bob();
    world.publish_cross_signing(&mut alice);
    let key = DehydrationKey::random(&SystemRng);
    let request = alice.machine.dehydrate_device(&key, world.now_ms).unwrap();
    put(&mut world, &request);
    world.devices.remove(&(user("alice"), "ALICE1".into()));
    let asleep = Asleep {
        key,
        id: request.device_id,
        data: request.device_data,
    };
    (world, alice, asleep, bob)
}

/// Alice's next client, which has her identity from secret storage.
fn next_client(world: &mut World, before: &Client) -> Client {
    let mut next = world.client("alice", "ALICE2");
    world.sync(&mut next);
    let secrets = before.machine.export_secrets();
    for name in [SecretName::Master, SecretName::SelfSigning] {
        let imported = next.machine.import_secret(name, &secrets[&name]).unwrap();
        next.keep(imported);
    }
    world.pump(&mut next);
    next
}

/// Reads what the sleeping device received; gives the number of keys.
fn drain(world: &mut World, client: &mut Client, asleep: &Asleep) -> usize {
    let woken = client
        .machine
        .rehydrate_device(&asleep.key, &asleep.id, &asleep.data);
    let mut woken = woken.unwrap();
    let name = (user("alice"), asleep.id.clone());
    let events: Vec<_> = world.devices[&name].inbox.iter().map(raw).collect();
    let now_ms = world.now_ms;
    let taken = client
        .machine
        .receive_dehydrated_events(&mut woken, &events, now_ms);
    let outcome = client.keep(taken.unwrap());
    client.notices.extend(outcome.notices);
    outcome.new_room_keys.len()
}

#[test]
fn the_next_client_reads_what_came_while_there_was_none() {
    let (mut world, alice, asleep, mut bob) = asleep();
    let members = [user("alice"), user("bob")];
    let event = world.send(&mut bob, &members, "hello", EncryptOptions::default());
    let mut next = next_client(&mut world, &alice);
    let now_ms = world.now_ms;
    assert!(matches!(
        next.body(&event, now_ms),
        Err(Undecryptable::MissingRoomKey { .. })
    ));
    let keys = next.machine.curve25519_key();
    let tracked = next.machine.update_tracked_users(&members).unwrap();
    next.keep(tracked);
    world.pump(&mut next);
    assert_eq!(drain(&mut world, &mut next, &asleep), 1);
    assert_eq!(next.body(&event, now_ms).unwrap(), "hello");
    // Who said it is proved as if the key had come to this device.
    let decrypted = next.decrypt(&event, now_ms).unwrap();
    assert_eq!(decrypted.sender_device, Some("BOB1".into()));
    // The woken device left nothing behind: this one is itself, also after a restart.
    next.restart();
    assert_eq!(next.machine.curve25519_key(), keys);
    assert_eq!(next.body(&event, now_ms).unwrap(), "hello");
}

#[test]
fn a_key_or_device_that_does_not_fit_wakes_nothing() {
    let (mut world, alice, asleep, _) = asleep();
    let next = next_client(&mut world, &alice);
    let wake = |key: &DehydrationKey, id: &str, data: &Data| {
        next.machine.rehydrate_device(key, id.into(), data)
    };
    assert!(wake(&asleep.key, asleep.id.as_str(), &asleep.data).is_ok());
    let stored = DehydrationKey::from_secret(&asleep.key.to_secret()).unwrap();
    assert!(wake(&stored, asleep.id.as_str(), &asleep.data).is_ok());
    let other = DehydrationKey::random(&SystemRng);
    let refused = wake(&other, asleep.id.as_str(), &asleep.data);
    assert!(matches!(refused, Err(CryptoError::Key)));
    assert!(wake(&asleep.key, "ALICE1", &asleep.data).is_err());
    for data in [
        json!({"algorithm": "org.matrix.msc3814.v1.olm", "device_pickle": "AAAA"}),
        json!({"algorithm": "org.matrix.msc3814.v2", "device_pickle": "AAAA", "nonce": "AAAA"}),
        json!({}),
    ] {
        assert!(wake(&asleep.key, asleep.id.as_str(), &raw(&data)).is_err());
    }
    // Without the identity's keys none is made.
    let stranger = world.client("alice", "ALICE3");
    let refused = stranger.machine.dehydrate_device(&other, world.now_ms);
    assert!(matches!(refused, Err(CryptoError::NoCrossSigningKeys)));
}

#[test]
fn no_key_of_expiring_messages_goes_to_it_and_none_is_taken_from_it() {
    let (mut world, _, asleep, mut bob) = asleep();
    let members = [user("alice"), user("bob")];
    world.send(&mut bob, &members, "gone soon", lasting(ExpiryClass::Day1));
    let name = (user("alice"), asleep.id.clone());
    assert!(world.devices[&name].inbox.is_empty());
    // The same room key without a lifetime goes there.
    world.send(&mut bob, &members, "to stay", EncryptOptions::default());
    assert_eq!(world.devices[&name].inbox.len(), 1);
}

#[test]
fn an_unsigned_one_gets_nothing_under_any_policy() {
    let (mut world, alice, asleep, mut bob) = asleep();
    let name = (user("alice"), asleep.id.clone());
    // A server puts up one of its own, which it cannot have signed.
    let keys = &mut world.devices.get_mut(&name).unwrap().keys;
    let signatures = keys["signatures"]["@alice:a.example"]
        .as_object_mut()
        .unwrap();
    signatures.retain(|id, _| *id == format!("ed25519:{}", asleep.id));
    assert_eq!(signatures.len(), 1);
    drop(alice);
    let members = [user("alice"), user("bob")];
    let settings = RoomKeySettings {
        devices: crate::crypto::SharingPolicy::AllDevices,
        ..RoomKeySettings::default()
    };
    world.share(&mut bob, &members, &settings).unwrap();
    assert!(world.devices[&name].inbox.is_empty());
}
