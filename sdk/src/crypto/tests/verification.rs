//! Verification by comparing strings: to the end, and against a server in the middle.

use ruma::serde::JsonObject;
use serde_json::{Value, json};

use super::world::*;
use crate::crypto::{CryptoError, Notice, RoomMessage, Trust, Verification, VerificationStage};

/// The type of an event, whom it is for, and what it may be changed to on its way.
pub(super) type Meddle = fn(&str, &str, &mut Value);

pub(super) fn leave_alone(_: &str, _: &str, _: &mut Value) {}

/// Lets both receive what waits for them until nothing does; the server may change what it passes on.
pub(super) fn settle(world: &mut World, one: &mut Client, other: &mut Client, meddle: Meddle) {
    for _ in 0..8 {
        for client in [&mut *one, &mut *other] {
            let device_id = client.machine.device_id().to_owned();
            for event in &mut world.device(client).inbox {
                let kind = event["type"].as_str().unwrap_or_default().to_owned();
                meddle(&kind, device_id.as_str(), &mut event["content"]);
            }
            world.sync(client);
        }
    }
}

pub(super) fn stage(client: &Client) -> VerificationStage {
    let all = client.machine.verifications();
    let [one] = &all[..] else {
        panic!("one verification, not {}", all.len())
    };
    one.stage.clone()
}

fn compared(client: &Client) -> (Vec<&'static str>, [u16; 3]) {
    match stage(client) {
        VerificationStage::Comparing { emoji, decimals } => (
            emoji.unwrap().iter().map(|emoji| emoji.name).collect(),
            decimals.unwrap(),
        ),
        other => panic!("nothing to compare: {other:?}"),
    }
}

/// Alice asks all devices of a user; the other side says yes.
pub(super) fn ready(world: &mut World, alice: &mut Client, other: &mut Client, meddle: Meddle) {
    let user = other.user_id();
    let staged = alice
        .machine
        .update_tracked_users(std::slice::from_ref(&user))
        .unwrap();
    alice.keep(staged);
    world.pump(alice);
    let own = alice.machine.device_id().to_owned();
    let devices = alice.machine.devices(&user).into_iter();
    let devices: Vec<_> = devices
        .map(|device| device.device_id)
        .filter(|id| *id != own)
        .collect();
    let now_ms = world.now_ms;
    let asked = alice
        .machine
        .request_verification(&user, &devices, "flow", now_ms);
    alice.keep(asked.unwrap());
    world.pump(alice);
    settle(world, alice, other, meddle);
    let accepted = other.machine.accept_verification("flow").unwrap();
    other.keep(accepted);
    world.pump(other);
    settle(world, alice, other, meddle);
}

/// The same, and Alice begins to compare strings.
pub(super) fn begin(world: &mut World, alice: &mut Client, other: &mut Client, meddle: Meddle) {
    ready(world, alice, other, meddle);
    if let Ok(started) = alice.machine.start_sas("flow") {
        alice.keep(started);
        world.pump(alice);
    }
    settle(world, alice, other, meddle);
}

pub(super) fn confirm(world: &mut World, one: &mut Client, other: &mut Client, meddle: Meddle) {
    for client in [&mut *one, &mut *other] {
        let confirmed = client.machine.confirm_verification("flow").unwrap();
        client.keep(confirmed);
        world.pump(client);
    }
    settle(world, one, other, meddle);
}

pub(super) fn cancelled(client: &Client) -> (String, bool) {
    match stage(client) {
        VerificationStage::Cancelled { code, by_us } => (code, by_us),
        other => panic!("not cancelled: {other:?}"),
    }
}

pub(super) fn trust_in(client: &Client, other: &Client) -> Trust {
    client.machine.devices(&other.user_id())[0].trust
}

pub(super) fn with_identities() -> (World, Client, Client) {
    let (mut world, mut alice, mut bob, _) = alice_and_bob();
    world.publish_cross_signing(&mut alice);
    world.publish_cross_signing(&mut bob);
    (world, alice, bob)
}

#[test]
fn two_people_who_see_the_same_trust_each_other_and_all_their_devices_do() {
    let (mut world, mut alice, mut bob) = with_identities();
    begin(&mut world, &mut alice, &mut bob, leave_alone);
    assert_eq!(compared(&alice), compared(&bob));
    confirm(&mut world, &mut alice, &mut bob, leave_alone);
    for (one, other) in [(&alice, &bob), (&bob, &alice)] {
        assert_eq!(stage(one), VerificationStage::Done);
        assert_eq!(trust_in(one, other), Trust::Verified);
    }
    let told = |client: &Client| {
        let done = |notice: &Notice| {
            matches!(
                notice,
                Notice::Verification(Verification {
                    stage: VerificationStage::Done,
                    ..
                })
            )
        };
        client.notices.iter().any(done)
    };
    assert!(told(&alice) || told(&bob));
    // The signature on Bob's identity is at the server.
    let signer = alice.user_id();
    let master = &world.master[&bob.user_id()];
    assert!(master["signatures"][signer.as_str()].is_object());
}

#[test]
fn one_who_sees_something_else_ends_it_and_nothing_is_verified() {
    let (mut world, mut alice, mut bob) = with_identities();
    begin(&mut world, &mut alice, &mut bob, leave_alone);
    let ended = bob.machine.cancel_verification("flow", true).unwrap();
    bob.keep(ended);
    world.pump(&mut bob);
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    assert_eq!(cancelled(&alice), ("m.mismatched_sas".to_owned(), false));
    assert_eq!(cancelled(&bob), ("m.mismatched_sas".to_owned(), true));
    assert_eq!(trust_in(&alice, &bob), Trust::CrossSigned);
    assert!(alice.machine.confirm_verification("flow").is_err());
}

#[test]
fn a_server_that_exchanges_keys_is_noticed_by_the_commitment_or_by_the_strings() {
    /// Everybody is given the server's key in place of the other's.
    fn exchanged(kind: &str, _: &str, content: &mut Value) {
        if kind == "m.key.verification.key" {
            let key = vodozemac::sas::Sas::new().public_key().to_base64();
            content["key"] = key.into();
        }
    }
    let (mut world, mut alice, mut bob) = with_identities();
    begin(&mut world, &mut alice, &mut bob, exchanged);
    assert_eq!(cancelled(&alice).0, "m.mismatched_commitment");
    assert_eq!(trust_in(&alice, &bob), Trust::CrossSigned);
    // Bob alone is given the server's key: no commitment covers that one, and the strings differ.
    fn for_bob(kind: &str, to: &str, content: &mut Value) {
        if to == "BOB1" {
            exchanged(kind, to, content);
        }
    }
    let (mut world, mut alice, mut bob) = with_identities();
    begin(&mut world, &mut alice, &mut bob, for_bob);
    assert_ne!(compared(&alice), compared(&bob));
    // Whoever says nevertheless that they match has not verified anybody: the MACs differ too.
    confirm(&mut world, &mut alice, &mut bob, leave_alone);
    assert_eq!(cancelled(&alice).0, "m.key_mismatch");
    assert_eq!(trust_in(&alice, &bob), Trust::CrossSigned);
}

#[test]
fn a_mac_that_does_not_cover_what_we_hold_ends_it() {
    fn other_list(kind: &str, _: &str, content: &mut Value) {
        if kind == "m.key.verification.mac" {
            let macs = content["mac"].as_object_mut().unwrap();
            macs.insert("ed25519:GHOST".to_owned(), "AAAA".into());
        }
    }
    fn shortened(kind: &str, _: &str, content: &mut Value) {
        if kind == "m.key.verification.mac" {
            content["mac"].as_object_mut().unwrap().pop_first_key();
        }
    }
    fn other_mac(kind: &str, _: &str, content: &mut Value) {
        if kind == "m.key.verification.mac" {
            for mac in content["mac"].as_object_mut().unwrap().values_mut() {
                *mac = "AAAA".into();
            }
        }
    }
    for meddle in [other_list as Meddle, shortened, other_mac] {
        let (mut world, mut alice, mut bob) = with_identities();
        begin(&mut world, &mut alice, &mut bob, meddle);
        confirm(&mut world, &mut alice, &mut bob, meddle);
        assert_eq!(cancelled(&alice).0, "m.key_mismatch");
        assert_eq!(trust_in(&alice, &bob), Trust::CrossSigned);
    }
}

/// Takes one entry out.
trait PopFirst {
    fn pop_first_key(&mut self);
}

impl PopFirst for JsonObject {
    fn pop_first_key(&mut self) {
        let key = self.keys().next().cloned().unwrap();
        self.remove(&key);
    }
}

#[test]
fn a_done_that_the_server_wrote_proves_nothing() {
    let (mut world, mut alice, mut bob) = with_identities();
    begin(&mut world, &mut alice, &mut bob, leave_alone);
    let done = json!({
        "type": "m.key.verification.done", "sender": bob.user_id(), "content": {"transaction_id": "flow"},
    });
    world.device(&alice).inbox.push(done);
    world.sync(&mut alice);
    assert!(matches!(stage(&alice), VerificationStage::Comparing { .. }));
    assert_eq!(trust_in(&alice, &bob), Trust::CrossSigned);
}

#[test]
fn older_clients_begin_without_asking_and_with_the_older_mac() {
    fn older(kind: &str, _: &str, content: &mut Value) {
        if kind == "m.key.verification.start" {
            content["message_authentication_codes"] = json!(["hkdf-hmac-sha256"]);
        }
    }
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    for client in [&mut alice, &mut bob] {
        let staged = client.machine.update_tracked_users(&members).unwrap();
        client.keep(staged);
        world.pump(client);
    }
    let start = json!({
        "type": "m.key.verification.start", "sender": alice.user_id(),
        "content": {
            "transaction_id": "flow", "from_device": "ALICE1", "method": "m.sas.v1", "hashes": ["sha256"],
            "key_agreement_protocols": ["curve25519-hkdf-sha256"], "short_authentication_string": ["decimal"],
            "message_authentication_codes": ["hkdf-hmac-sha256"],
        },
    });
    world.device(&bob).inbox.push(start);
    world.sync(&mut bob);
    assert_eq!(stage(&bob), VerificationStage::Requested { incoming: true });
    let accepted = bob.machine.accept_verification("flow").unwrap();
    bob.keep(accepted);
    world.pump(&mut bob);
    let accept = &world.device(&alice).inbox[0]["content"];
    assert_eq!(accept["message_authentication_code"], "hkdf-hmac-sha256");
    assert_eq!(accept["short_authentication_string"], json!(["decimal"]));
    // A server cannot talk two newer clients into it.
    let (mut world, mut alice, mut bob) = with_identities();
    begin(&mut world, &mut alice, &mut bob, older);
    assert_eq!(cancelled(&alice).0, "m.mismatched_commitment");
}

#[test]
fn when_both_begin_one_start_counts() {
    let (mut world, mut alice, mut bob) = with_identities();
    let user = bob.user_id();
    let staged = alice
        .machine
        .update_tracked_users(std::slice::from_ref(&user))
        .unwrap();
    alice.keep(staged);
    world.pump(&mut alice);
    let devices = ["BOB1".into()];
    let asked = alice
        .machine
        .request_verification(&user, &devices, "flow", world.now_ms);
    alice.keep(asked.unwrap());
    world.pump(&mut alice);
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    let accepted = bob.machine.accept_verification("flow").unwrap();
    bob.keep(accepted);
    world.pump(&mut bob);
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    for client in [&mut alice, &mut bob] {
        let started = client.machine.start_sas("flow").unwrap();
        client.keep(started);
        world.pump(client);
    }
    settle(&mut world, &mut alice, &mut bob, leave_alone);
    assert_eq!(compared(&alice), compared(&bob));
    confirm(&mut world, &mut alice, &mut bob, leave_alone);
    assert_eq!(stage(&alice), VerificationStage::Done);
}

#[test]
fn what_takes_too_long_is_given_up_and_old_requests_are_not_taken() {
    let (mut world, mut alice, mut bob) = with_identities();
    begin(&mut world, &mut alice, &mut bob, leave_alone);
    world.now_ms += 11 * 60_000;
    world.sync(&mut alice);
    assert!(alice.machine.verifications().is_empty());
    let ended = |notice: &Notice| matches!(notice, Notice::Verification(Verification { stage: VerificationStage::Cancelled { code, by_us: true }, .. }) if code == "m.timeout");
    assert!(alice.notices.iter().any(ended));
    let request = json!({
        "type": "m.key.verification.request", "sender": bob.user_id(), "content": {
            "transaction_id": "old", "from_device": "BOB1", "methods": ["m.sas.v1"], "timestamp": START_MS,
        },
    });
    world.device(&alice).inbox.push(request);
    world.sync(&mut alice);
    assert!(alice.machine.verifications().is_empty());
}

#[test]
fn a_device_that_asks_twice_at_once_gets_neither() {
    let (mut world, mut alice, bob) = with_identities();
    for flow in ["one", "two"] {
        let request = json!({
            "type": "m.key.verification.request", "sender": bob.user_id(), "content": {
                "transaction_id": flow, "from_device": "BOB1", "methods": ["m.sas.v1"], "timestamp": world.now_ms,
            },
        });
        world.device(&alice).inbox.push(request);
    }
    world.sync(&mut alice);
    assert_eq!(cancelled(&alice).0, "m.unexpected_message");
}

#[test]
fn somebody_whose_identity_has_changed_is_not_verified_before_that_is_accepted() {
    let (mut world, mut alice, mut bob) = with_identities();
    begin(&mut world, &mut alice, &mut bob, leave_alone);
    let mut impostor = world.client("bob", "BOB2");
    world.reset_cross_signing(&mut impostor);
    world.sync(&mut alice);
    confirm(&mut world, &mut alice, &mut bob, leave_alone);
    assert_eq!(cancelled(&alice).0, "m.key_mismatch");
    let refused =
        alice
            .machine
            .request_verification(&bob.user_id(), &["BOB1".into()], "again", world.now_ms);
    assert!(refused.is_err());
}

/// Gives each side what the other says in the room, and its own echo.
pub(super) fn pass_room_messages(world: &mut World, one: &mut Client, other: &mut Client) {
    for _ in 0..8 {
        let from_one: Vec<RoomMessage> = one.machine.take_room_messages();
        let from_other = other.machine.take_room_messages();
        let (user_one, user_other) = (one.user_id(), other.user_id());
        let all = from_one.into_iter().map(|message| (&user_one, message));
        let all = all.chain(from_other.into_iter().map(|message| (&user_other, message)));
        for (sender, message) in all {
            for client in [&mut *one, &mut *other] {
                let named = ("$event", world.now_ms);
                let said = (message.event_type.as_str(), &message.content);
                let staged = client.machine.receive_room_verification(
                    &room(),
                    named,
                    sender,
                    said,
                    world.now_ms,
                );
                let notices = client.keep(staged.unwrap());
                client.notices.extend(notices);
                world.pump(client);
            }
        }
    }
}

/// Alice asks Bob in a room, and he says yes.
pub(super) fn ready_in_room(world: &mut World, alice: &mut Client, bob: &mut Client) {
    for client in [&mut *alice, &mut *bob] {
        let staged = client
            .machine
            .update_tracked_users(&[user("alice"), user("bob")])
            .unwrap();
        client.keep(staged);
        world.pump(client);
    }
    let content = alice.machine.verification_request_content(&bob.user_id());
    let content = content.unwrap();
    let asked =
        alice
            .machine
            .verification_requested(&room(), "$request", &bob.user_id(), world.now_ms);
    alice.keep(asked.unwrap());
    let said = ("m.room.message", &content);
    let named = ("$request", world.now_ms);
    for client in [&mut *alice, &mut *bob] {
        let staged = client.machine.receive_room_verification(
            &room(),
            named,
            &user("alice"),
            said,
            world.now_ms,
        );
        client.keep(staged.unwrap());
    }
    assert_eq!(stage(bob), VerificationStage::Requested { incoming: true });
    let accepted = bob.machine.accept_verification("$request").unwrap();
    bob.keep(accepted);
    pass_room_messages(world, alice, bob);
}

#[test]
fn in_a_room_it_goes_to_the_end_as_well() {
    let (mut world, mut alice, mut bob) = with_identities();
    ready_in_room(&mut world, &mut alice, &mut bob);
    let started = bob.machine.start_sas("$request").unwrap();
    bob.keep(started);
    pass_room_messages(&mut world, &mut alice, &mut bob);
    assert_eq!(compared(&alice), compared(&bob));
    for client in [&mut alice, &mut bob] {
        let confirmed = client.machine.confirm_verification("$request").unwrap();
        client.keep(confirmed);
    }
    pass_room_messages(&mut world, &mut alice, &mut bob);
    assert_eq!(stage(&alice), VerificationStage::Done);
    assert_eq!(stage(&bob), VerificationStage::Done);
    assert_eq!(trust_in(&alice, &bob), Trust::Verified);
    // Nothing of it went over to-device messages.
    assert!(world.device(&bob).inbox.is_empty());
}

#[test]
fn an_answer_that_is_faster_than_the_servers_word_is_not_lost() {
    let (mut world, mut alice, bob) = with_identities();
    let now_ms = world.now_ms;
    let said = |client: &mut Client, sender: &str, id: &str, kind: &str, content: &JsonObject| {
        let named = (id, now_ms);
        let staged = client.machine.receive_room_verification(
            &room(),
            named,
            &user(sender),
            (kind, content),
            now_ms,
        );
        client.keep(staged.unwrap())
    };
    let refused = alice.machine.verification_request_content(&bob.user_id());
    assert!(matches!(refused, Err(CryptoError::UnknownUser)));
    let staged = alice.machine.update_tracked_users(&[bob.user_id()]);
    alice.keep(staged.unwrap());
    world.pump(&mut alice);
    let echo = alice.machine.verification_request_content(&bob.user_id());
    let echo = echo.unwrap();
    let mut forged = echo.clone();
    forged.insert("to".to_owned(), "@carol:a.example".into());
    said(&mut alice, "alice", "$forged", "m.room.message", &forged);
    said(&mut alice, "alice", "$request", "m.room.message", &echo);
    let ready = json!({
        "from_device": "BOB1", "methods": ["m.sas.v1"],
        "m.relates_to": {"rel_type": "m.reference", "event_id": "$request"},
    });
    let ready = ready.as_object().unwrap().clone().into_iter().collect();
    said(
        &mut alice,
        "bob",
        "$ready",
        "m.key.verification.ready",
        &ready,
    );
    let asked =
        alice
            .machine
            .verification_requested(&room(), "$request", &bob.user_id(), world.now_ms);
    assert_eq!(alice.keep(asked.unwrap()).stage, VerificationStage::Ready);
    assert_eq!(stage(&alice), VerificationStage::Ready);
    // Once the request has its name, no other event passes for it.
    said(&mut alice, "alice", "$again", "m.room.message", &echo);
    assert_eq!(stage(&alice), VerificationStage::Ready);
}
