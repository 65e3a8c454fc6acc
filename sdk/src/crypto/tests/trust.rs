//! Identities: pinned when first seen, blocking when they change, verified by comparison.

use super::world::*;
use crate::crypto::{
    CryptoError, EncryptError, EncryptOptions, IdentityChange, Notice, OlmMachine, RoomKeySettings,
    ShareError, SharingPolicy, Trust,
};

/// Bob's device, as the server pretends, with other keys under the same id.
fn replace_bobs_device(world: &mut World, bob: &Client) -> Client {
    let old = std::mem::take(&mut world.device(bob).inbox);
    world
        .devices
        .remove(&(bob.user_id(), bob.machine.device_id().to_owned()));
    let fake = world.client("bob", "BOB1");
    world.device(&fake).inbox = old;
    fake
}

#[test]
fn a_devices_changed_keys_block_sending_until_they_are_accepted() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    let mut fake = replace_bobs_device(&mut world, &bob);
    world.device(&fake).inbox.clear();
    world.sync(&mut alice);
    let change = IdentityChange::DeviceKeys {
        user_id: bob.user_id(),
        device_id: "BOB1".into(),
        was_verified: false,
    };
    assert!(
        alice
            .notices
            .contains(&Notice::IdentityChanged(change.clone()))
    );
    assert_eq!(alice.machine.identity_changes(), [change]);
    alice.restart();
    let refused = world.share(&mut alice, &members, &RoomKeySettings::default());
    assert!(matches!(refused, Err(ShareError::IdentityChanged { changes }) if changes.len() == 1));
    let options = EncryptOptions::default();
    let refused = alice.machine.encrypt_room_event(
        &room(),
        "m.room.message",
        &text("x"),
        options,
        world.now_ms,
    );
    assert!(matches!(refused, Err(EncryptError::IdentityChanged { .. })));
    assert!(world.device(&fake).inbox.is_empty());
    let staged = alice
        .machine
        .accept_identity_change(&bob.user_id())
        .unwrap();
    alice.keep(staged);
    let event = world.send(&mut alice, &members, "accepted", EncryptOptions::default());
    world.sync(&mut fake);
    assert_eq!(fake.body(&event, world.now_ms).unwrap(), "accepted");
}

#[test]
fn a_device_that_vanishes_first_and_comes_back_with_other_keys_is_noticed_too() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    let honest = world
        .devices
        .remove(&(bob.user_id(), "BOB1".into()))
        .unwrap();
    world.changes.push(bob.user_id());
    world.sync(&mut alice);
    assert!(alice.machine.devices(&bob.user_id()).is_empty());
    // With its own keys it is welcome back.
    world.devices.insert((bob.user_id(), "BOB1".into()), honest);
    world.changes.push(bob.user_id());
    world.sync(&mut alice);
    assert!(alice.machine.identity_changes().is_empty());
    assert_eq!(alice.machine.devices(&bob.user_id()).len(), 1);
    world
        .devices
        .remove(&(bob.user_id(), "BOB1".into()))
        .unwrap();
    world.changes.push(bob.user_id());
    world.sync(&mut alice);
    world.client("bob", "BOB1");
    world.sync(&mut alice);
    assert_eq!(alice.machine.identity_changes().len(), 1);
}

#[test]
fn a_reset_after_verification_blocks_and_takes_the_verification_away() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.publish_cross_signing(&mut bob);
    let event = world.send(&mut bob, &members, "hello", EncryptOptions::default());
    world.sync(&mut alice);
    let staged = alice.machine.update_tracked_users(&members).unwrap();
    alice.keep(staged);
    world.pump(&mut alice);
    assert_eq!(
        alice.decrypt(&event, world.now_ms).unwrap().trust,
        Trust::CrossSigned
    );
    let shown = bob.machine.master_key(&bob.user_id()).unwrap();
    let wrong = alice
        .machine
        .verify_user(&bob.user_id(), &shown.replace(&shown[..4], "AAAA"));
    assert!(matches!(wrong, Err(CryptoError::FingerprintMismatch)));
    let staged = alice.machine.verify_user(&bob.user_id(), &shown).unwrap();
    alice.keep(staged);
    assert_eq!(
        alice.decrypt(&event, world.now_ms).unwrap().trust,
        Trust::Verified
    );

    // The identity is reset, by Bob or by his server: nobody can tell.
    let mut impostor = world.client("bob", "BOB2");
    let refused = impostor.machine.create_cross_signing();
    assert!(matches!(refused, Err(CryptoError::IdentityExists)));
    world.reset_cross_signing(&mut impostor);
    world.sync(&mut alice);
    let change = IdentityChange::MasterKey {
        user_id: bob.user_id(),
        was_verified: true,
    };
    assert_eq!(alice.machine.identity_changes(), [change]);
    assert!(matches!(
        world.share(&mut alice, &members, &RoomKeySettings::default()),
        Err(ShareError::IdentityChanged { .. })
    ));
    assert_eq!(
        alice.decrypt(&event, world.now_ms).unwrap().trust,
        Trust::IdentityChanged
    );
    let staged = alice
        .machine
        .accept_identity_change(&bob.user_id())
        .unwrap();
    alice.keep(staged);
    world.pump(&mut alice);
    world
        .share(&mut alice, &members, &RoomKeySettings::default())
        .unwrap();
    let trust: Vec<_> = alice
        .machine
        .devices(&bob.user_id())
        .into_iter()
        .map(|device| device.trust)
        .collect();
    assert_eq!(trust, [Trust::Unsigned, Trust::CrossSigned]);
}

#[test]
fn a_master_key_that_is_taken_away_blocks() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.publish_cross_signing(&mut bob);
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    let kept = world.master.remove(&bob.user_id()).unwrap();
    world.client("bob", "GHOST1");
    world.sync(&mut alice);
    assert!(matches!(
        &alice.machine.identity_changes()[..],
        [IdentityChange::MasterKeyGone { .. }]
    ));
    // A server that gives it back was merely broken.
    world.master.insert(bob.user_id(), kept);
    world.changes.push(bob.user_id());
    world.sync(&mut alice);
    assert!(alice.machine.identity_changes().is_empty());
}

#[test]
fn a_compared_fingerprint_verifies_a_device_and_a_wrong_one_does_not() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    let shown = bob.machine.fingerprint();
    assert_eq!(shown.split(' ').count(), 11);
    let other = alice.machine.fingerprint();
    let bob_id = bob.user_id();
    assert!(matches!(
        alice.machine.verify_device(&bob_id, "BOB1".into(), &other),
        Err(CryptoError::FingerprintMismatch)
    ));
    assert!(matches!(
        alice.machine.verify_device(&bob_id, "BOB9".into(), &shown),
        Err(CryptoError::UnknownDevice)
    ));
    assert_eq!(alice.machine.devices(&bob_id)[0].trust, Trust::FirstUse);
    assert_eq!(alice.machine.devices(&bob_id)[0].fingerprint, shown);
    let staged = alice
        .machine
        .verify_device(&bob_id, "BOB1".into(), &shown)
        .unwrap();
    alice.keep(staged);
    alice.restart();
    assert_eq!(alice.machine.devices(&bob_id)[0].trust, Trust::Verified);
}

#[test]
fn the_strict_policies_leave_out_whom_they_should() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let reached = |world: &mut World, alice: &mut Client, bob: &Client, devices| {
        world.device(bob).inbox.clear();
        world.sync(alice);
        let staged = alice
            .machine
            .room_member_left(&room(), &user("nobody"))
            .unwrap();
        alice.keep(staged);
        world
            .share(
                alice,
                &members,
                &RoomKeySettings {
                    devices,
                    ..RoomKeySettings::default()
                },
            )
            .unwrap();
        world
            .device(bob)
            .inbox
            .iter()
            .any(|event| event["type"] == "m.room.encrypted")
    };
    use SharingPolicy::{AllDevices, CrossSignedOnly, CrossSignedWherePossible, VerifiedOnly};
    let mut all = |world: &mut World, bob: &Client| {
        [
            AllDevices,
            CrossSignedWherePossible,
            CrossSignedOnly,
            VerifiedOnly,
        ]
        .map(|devices| reached(world, &mut alice, bob, devices))
    };
    assert_eq!(all(&mut world, &bob), [true, true, false, false]);
    world.publish_cross_signing(&mut bob);
    assert_eq!(all(&mut world, &bob), [true, true, true, false]);
}

#[test]
fn another_device_of_ours_is_signed_after_comparing_it() {
    let mut world = World::new();
    let mut alice = world.client("alice", "ALICE1");
    world.publish_cross_signing(&mut alice);
    let second = world.client("alice", "ALICE2");
    world.sync(&mut alice);
    assert_eq!(
        alice.machine.devices(&alice.user_id())[0].trust,
        Trust::Unsigned
    );
    let staged = alice
        .machine
        .sign_own_device("ALICE2".into(), &second.machine.fingerprint())
        .unwrap();
    alice.keep(staged);
    // The signature is not lost with the process.
    alice.restart();
    world.pump(&mut alice);
    world.sync(&mut alice);
    assert!(
        alice.machine.users[&alice.user_id()].devices[<&ruma::DeviceId>::from("ALICE2")]
            .cross_signed
    );
}

#[test]
fn keys_that_are_made_and_not_uploaded_yet_are_not_taken_for_a_change() {
    let mut world = World::new();
    let mut alice = world.client("alice", "ALICE1");
    let staged = alice.machine.create_cross_signing().unwrap();
    let first = alice.keep(staged);
    let staged = alice.machine.mark_all_outdated().unwrap();
    alice.keep(staged);
    world.pump(&mut alice);
    assert!(alice.machine.identity_changes().is_empty());
    alice.restart();
    let staged = alice.machine.create_cross_signing().unwrap();
    let again = alice.keep(staged);
    let key = |upload: &crate::crypto::CrossSigningUpload| {
        upload
            .signing_keys
            .master_key
            .as_ref()
            .unwrap()
            .json()
            .get()
            .to_owned()
    };
    assert_eq!(key(&first), key(&again));
}

#[test]
fn a_store_of_another_account_is_refused() {
    let mut world = World::new();
    let alice = world.client("alice", "ALICE1");
    let refused = OlmMachine::load(&user("bob"), "ALICE1".into(), alice.records());
    assert!(matches!(refused, Err(CryptoError::WrongAccount)));
    let refused = OlmMachine::load(&user("alice"), "ALICE2".into(), alice.records());
    assert!(matches!(refused, Err(CryptoError::WrongAccount)));
    assert!(
        OlmMachine::load(&user("alice"), "ALICE1".into(), Vec::new())
            .unwrap()
            .is_none()
    );
}
