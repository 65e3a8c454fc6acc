//! Verification by scanning a code: to the end in all three modes, and against a server that exchanges or invents.

use serde_json::{Value, json};

use super::{
    verification::{
        Meddle, cancelled, leave_alone, pass_room_messages, ready, ready_in_room, settle, stage,
        trust_in, with_identities,
    },
    world::*,
};
use crate::{
    clock::SystemRng,
    crypto::{CryptoError, QrAbilities, SecretBytes, Trust, VerificationStage},
};

const BOTH: QrAbilities = QrAbilities {
    show: true,
    scan: true,
};

fn show(client: &mut Client) -> SecretBytes {
    client
        .machine
        .verification_code("flow", &SystemRng)
        .unwrap()
}

fn scan(world: &mut World, client: &mut Client, code: &SecretBytes) {
    let scanned = client
        .machine
        .scan_verification_code("flow", code.expose())
        .unwrap();
    client.keep(scanned);
    world.pump(client);
}

fn confirm(world: &mut World, client: &mut Client, flow_id: &str) {
    let confirmed = client.machine.confirm_verification(flow_id).unwrap();
    client.keep(confirmed);
    world.pump(client);
}

/// Alice and Bob, who can do everything with codes and are ready to.
fn ready_to_scan(meddle: Meddle) -> (World, Client, Client) {
    let (mut world, mut alice, mut bob) = with_identities();
    for client in [&mut alice, &mut bob] {
        client.machine.set_qr_abilities(BOTH);
    }
    ready(&mut world, &mut alice, &mut bob, meddle);
    (world, alice, bob)
}

/// A device of Alice's that has her identity, one that has not, and one more.
fn own_devices() -> (World, Client, Client, Client) {
    let mut world = World::new();
    let mut first = world.client("alice", "ALICE1");
    world.publish_cross_signing(&mut first);
    let (mut second, mut third) = (
        world.client("alice", "ALICE2"),
        world.client("alice", "ALICE3"),
    );
    for client in [&mut first, &mut second, &mut third] {
        client.machine.set_qr_abilities(BOTH);
        world.sync(client);
    }
    (world, first, second, third)
}

#[test]
fn two_people_of_whom_one_scans_the_others_code_verify_each_other() {
    let (mut world, mut alice, mut bob) = ready_to_scan(leave_alone);
    assert_eq!(alice.machine.verifications()[0].codes, BOTH);
    let code = show(&mut alice);
    // Drawn again, it is the same.
    assert_eq!(show(&mut alice), code);
    scan(&mut world, &mut bob, &code);
    assert_eq!(stage(&bob), VerificationStage::Confirmed);
    assert_eq!(trust_in(&bob, &alice), Trust::Verified);
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    // Alice is asked, and nothing is verified before she has answered.
    assert_eq!(stage(&alice), VerificationStage::Scanned);
    assert_eq!(trust_in(&alice, &bob), Trust::CrossSigned);
    confirm(&mut world, &mut alice, "flow");
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    for (one, other) in [(&alice, &bob), (&bob, &alice)] {
        assert_eq!(stage(one), VerificationStage::Done);
        assert_eq!(trust_in(one, other), Trust::Verified);
        let signatures = &world.master[&other.user_id()]["signatures"];
        assert!(signatures[one.user_id().as_str()].is_object());
    }
}

#[test]
fn in_a_room_a_code_is_scanned_as_well() {
    let (mut world, mut alice, mut bob) = with_identities();
    for client in [&mut alice, &mut bob] {
        client.machine.set_qr_abilities(BOTH);
    }
    ready_in_room(&mut world, &mut alice, &mut bob);
    let code = bob.machine.verification_code("$request", &SystemRng);
    let code = code.unwrap();
    let scanned = alice
        .machine
        .scan_verification_code("$request", code.expose());
    alice.keep(scanned.unwrap());
    pass_room_messages(&mut world, &mut alice, &mut bob);
    confirm(&mut world, &mut bob, "$request");
    pass_room_messages(&mut world, &mut alice, &mut bob);
    for (one, other) in [(&alice, &bob), (&bob, &alice)] {
        assert_eq!(stage(one), VerificationStage::Done);
        assert_eq!(trust_in(one, other), Trust::Verified);
    }
    assert!(world.device(&bob).inbox.is_empty());
}

#[test]
fn a_new_device_is_verified_whichever_of_the_two_shows_the_code() {
    for new_shows in [false, true] {
        let (mut world, mut first, mut second, _) = own_devices();
        ready(&mut world, &mut first, &mut second, leave_alone);
        let (shower, scanner) = if new_shows {
            (&mut second, &mut first)
        } else {
            (&mut first, &mut second)
        };
        let code = show(shower);
        // "0x01: the current device does trust the master signing key", "0x02: does not yet".
        assert_eq!(code.expose()[7], if new_shows { 2 } else { 1 });
        scan(&mut world, scanner, &code);
        settle(&mut world, shower, scanner, leave_alone);
        confirm(&mut world, shower, "flow");
        for _ in 0..3 {
            settle(&mut world, shower, scanner, leave_alone);
        }
        for client in [&first, &second] {
            assert_eq!(stage(client), VerificationStage::Done);
            assert!(client.machine.is_cross_signed());
            // The new one was given the identity's keys.
            assert!(client.machine.has_cross_signing_keys());
        }
    }
}

#[test]
fn a_device_that_does_not_trust_the_identity_vouches_for_nobody() {
    let (mut world, _, mut second, mut third) = own_devices();
    // Two new devices, neither of which has seen the identity proven.
    ready(&mut world, &mut second, &mut third, leave_alone);
    let code = show(&mut third);
    assert_eq!(code.expose()[7], 2);
    scan(&mut world, &mut second, &code);
    settle(&mut world, &mut second, &mut third, leave_alone);
    assert_eq!(cancelled(&second), ("m.key_mismatch".to_owned(), true));
    assert_eq!(cancelled(&third), ("m.key_mismatch".to_owned(), false));
    assert!(!third.machine.is_cross_signed());
}

/// Alice is shown another identity of Bob's than he has, by her server. Neither has seen the other before.
fn deceived() -> (World, Client, Client) {
    let (mut world, mut alice, mut bob) = with_identities();
    world.sync(&mut alice);
    let real = (world.master.clone(), world.self_signing.clone());
    let mut elsewhere = World::new();
    let mut impostor = elsewhere.client("bob", "BOB1");
    elsewhere.publish_cross_signing(&mut impostor);
    world
        .master
        .extend([(bob.user_id(), elsewhere.master[&bob.user_id()].clone())]);
    let fake = elsewhere.self_signing[&bob.user_id()].clone();
    world.self_signing.extend([(bob.user_id(), fake)]);
    let staged = alice.machine.update_tracked_users(&[bob.user_id()]);
    alice.keep(staged.unwrap());
    world.pump(&mut alice);
    (world.master, world.self_signing) = real;
    for client in [&mut alice, &mut bob] {
        client.machine.set_qr_abilities(BOTH);
    }
    ready(&mut world, &mut alice, &mut bob, leave_alone);
    (world, alice, bob)
}

#[test]
fn an_identity_that_the_server_made_up_is_found_out_by_whoever_scans() {
    for alice_shows in [false, true] {
        let (mut world, mut alice, mut bob) = deceived();
        let (shower, scanner) = if alice_shows {
            (&mut alice, &mut bob)
        } else {
            (&mut bob, &mut alice)
        };
        let code = show(shower);
        scan(&mut world, scanner, &code);
        assert_eq!(cancelled(scanner), ("m.key_mismatch".to_owned(), true));
        settle(&mut world, shower, scanner, leave_alone);
        assert_eq!(cancelled(shower), ("m.key_mismatch".to_owned(), false));
        assert_ne!(trust_in(&alice, &bob), Trust::Verified);
        assert_ne!(trust_in(&bob, &alice), Trust::Verified);
    }
}

#[test]
fn a_server_that_says_that_a_code_was_scanned_does_not_know_its_secret() {
    let said = |bob: &Client, verb: &str, content: Value| {
        json!({
            "type": format!("m.key.verification.{verb}"), "sender": bob.user_id(), "content": content,
        })
    };
    let reciprocate = |secret: &str| {
        json!({
            "transaction_id": "flow", "from_device": "BOB1", "method": "m.reciprocate.v1", "secret": secret,
        })
    };
    for (shown, verb, content, code) in [
        (
            true,
            "start",
            reciprocate("AAAAAAAAAAAAAAAAAAAAAA"),
            Some("m.key_mismatch"),
        ),
        (
            false,
            "start",
            reciprocate(""),
            Some("m.unexpected_message"),
        ),
        (true, "done", json!({"transaction_id": "flow"}), None),
    ] {
        let (mut world, mut alice, bob) = ready_to_scan(leave_alone);
        if shown {
            show(&mut alice);
        }
        world.device(&alice).inbox.push(said(&bob, verb, content));
        world.sync(&mut alice);
        match code {
            Some(code) => assert_eq!(cancelled(&alice), (code.to_owned(), true)),
            None => assert_eq!(stage(&alice), VerificationStage::Ready),
        }
        assert!(alice.machine.confirm_verification("flow").is_err());
        assert_eq!(trust_in(&alice, &bob), Trust::CrossSigned);
    }
}

#[test]
fn a_secret_that_is_changed_on_its_way_ends_it_for_whoever_showed_it() {
    fn changed(kind: &str, _: &str, content: &mut Value) {
        if kind == "m.key.verification.start" {
            content["secret"] = "AAAAAAAAAAAAAAAAAAAAAA".into();
        }
    }
    let (mut world, mut alice, mut bob) = ready_to_scan(leave_alone);
    let code = show(&mut alice);
    scan(&mut world, &mut bob, &code);
    settle(&mut world, &mut alice, &mut bob, changed);
    assert_eq!(cancelled(&alice).0, "m.key_mismatch");
    assert_eq!(trust_in(&alice, &bob), Trust::CrossSigned);
    // "This does not affect Alice's verification of Bob's keys."
    assert_eq!(trust_in(&bob, &alice), Trust::Verified);
}

#[test]
fn one_who_does_not_see_the_other_device_content_verifies_nobody() {
    let (mut world, mut alice, mut bob) = ready_to_scan(leave_alone);
    let code = show(&mut alice);
    scan(&mut world, &mut bob, &code);
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    let ended = alice.machine.cancel_verification("flow", false).unwrap();
    alice.keep(ended);
    assert_eq!(trust_in(&alice, &bob), Trust::CrossSigned);
}

#[test]
fn an_identity_that_changes_while_the_code_is_shown_is_not_verified() {
    let (mut world, mut alice, mut bob) = ready_to_scan(leave_alone);
    let code = show(&mut alice);
    scan(&mut world, &mut bob, &code);
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    let mut impostor = world.client("bob", "BOB2");
    world.reset_cross_signing(&mut impostor);
    world.sync(&mut alice);
    confirm(&mut world, &mut alice, "flow");
    assert_eq!(cancelled(&alice).0, "m.key_mismatch");
}

#[test]
fn both_may_scan_at_once_and_two_ways_at_once_end_it() {
    let (mut world, mut alice, mut bob) = ready_to_scan(leave_alone);
    let (of_alice, of_bob) = (show(&mut alice), show(&mut bob));
    scan(&mut world, &mut alice, &of_bob);
    scan(&mut world, &mut bob, &of_alice);
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    // The start of the smaller one counts: Bob is asked.
    assert_eq!(stage(&bob), VerificationStage::Scanned);
    confirm(&mut world, &mut bob, "flow");
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    for (one, other) in [(&alice, &bob), (&bob, &alice)] {
        assert_eq!(stage(one), VerificationStage::Done);
        assert_eq!(trust_in(one, other), Trust::Verified);
    }
    let (mut world, mut alice, mut bob) = ready_to_scan(leave_alone);
    let code = show(&mut alice);
    let started = alice.machine.start_sas("flow").unwrap();
    alice.keep(started);
    world.pump(&mut alice);
    scan(&mut world, &mut bob, &code);
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    assert_eq!(cancelled(&alice).0, "m.unexpected_message");
}

#[test]
fn what_is_not_the_code_changes_nothing() {
    let (_, mut alice, mut bob) = ready_to_scan(leave_alone);
    let mut code = show(&mut alice).expose().to_vec();
    // The name of another verification.
    code[10] = b'g';
    for other in [&code[..], b"https://matrix.to/#/@bob:a.example", b""] {
        let scanned = bob.machine.scan_verification_code("flow", other);
        assert!(matches!(scanned, Err(CryptoError::NotThisCode)));
    }
    assert_eq!(stage(&bob), VerificationStage::Ready);
}

#[test]
fn codes_are_offered_only_by_who_shows_to_who_scans() {
    let none = QrAbilities::default();
    let only_show = QrAbilities { show: true, ..none };
    let only_scan = QrAbilities { scan: true, ..none };
    for (of_alice, of_bob, common) in [
        (BOTH, none, none),
        (none, BOTH, none),
        (only_show, only_show, none),
        (only_show, only_scan, only_show),
        (BOTH, only_show, only_scan),
    ] {
        let (mut world, mut alice, mut bob) = with_identities();
        alice.machine.set_qr_abilities(of_alice);
        bob.machine.set_qr_abilities(of_bob);
        ready(&mut world, &mut alice, &mut bob, leave_alone);
        assert_eq!(alice.machine.verifications()[0].codes, common);
        let code = alice.machine.verification_code("flow", &SystemRng);
        assert_eq!(code.is_ok(), common.show);
        // Strings can be compared in any case.
        assert!(alice.machine.start_sas("flow").is_ok());
    }
    // Without an identity there is nothing that a code could name.
    let (mut world, mut alice, mut bob, _) = alice_and_bob();
    for client in [&mut alice, &mut bob] {
        client.machine.set_qr_abilities(BOTH);
    }
    ready(&mut world, &mut alice, &mut bob, leave_alone);
    let code = alice.machine.verification_code("flow", &SystemRng);
    assert!(matches!(code, Err(CryptoError::NoIdentity)));
}
