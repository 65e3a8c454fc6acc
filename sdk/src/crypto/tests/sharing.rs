//! What our own devices give each other: secrets and room keys, to those that were verified and to nobody else.

use serde_json::{Value, json};

use super::{
    verification::{begin, confirm, leave_alone, settle, stage},
    world::*,
};
use crate::{
    crypto::{
        EncryptOptions, Notice, RoomKeyRefusal, SecretName, Trust, Undecryptable,
        VerificationStage,
        inbound::{InboundKey, InboundRecord},
    },
    expiry::ExpiryClass,
};

/// Alice with an identity, and a second device of hers, verified or not. Before it came, Bob has written something.
fn two_devices(verified: bool) -> (World, Client, Client, Client, Value) {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.publish_cross_signing(&mut alice);
    let event = world.send(&mut bob, &members, "before", EncryptOptions::default());
    world.sync(&mut alice);
    let mut second = world.client("alice", "ALICE2");
    world.sync(&mut alice);
    world.sync(&mut second);
    if verified {
        begin(&mut world, &mut alice, &mut second, leave_alone);
        confirm(&mut world, &mut alice, &mut second, leave_alone);
        assert_eq!(stage(&second), VerificationStage::Done);
        settle(&mut world, &mut alice, &mut second, leave_alone);
    }
    (world, alice, second, bob, event)
}

/// The second device asks for the key of an event.
fn ask(world: &mut World, second: &mut Client, alice: &mut Client, event: &Value) {
    let session_id = event["content"]["session_id"].as_str().unwrap();
    let asked = second
        .machine
        .request_room_key(&room(), session_id, None)
        .unwrap();
    second.keep(asked);
    world.pump(second);
    settle(world, alice, second, leave_alone);
}

#[test]
fn a_new_device_that_was_verified_is_signed_and_gets_the_identitys_keys() {
    let (mut world, alice, mut second, mut bob, _) = two_devices(true);
    assert!(second.machine.is_cross_signed());
    assert!(second.machine.has_cross_signing_keys());
    for name in [
        SecretName::Master,
        SecretName::SelfSigning,
        SecretName::UserSigning,
    ] {
        assert!(second.notices.contains(&Notice::SecretReceived(name)));
    }
    let exported = |client: &Client| client.machine.export_secrets();
    assert_eq!(exported(&alice), exported(&second));
    // Others see a device that its owner signed.
    let staged = bob
        .machine
        .update_tracked_users(&[alice.user_id()])
        .unwrap();
    bob.keep(staged);
    world.sync(&mut bob);
    let trust: Vec<_> = bob.machine.devices(&alice.user_id());
    assert!(
        trust
            .iter()
            .all(|device| device.trust == Trust::CrossSigned)
    );
    second.restart();
    assert!(second.machine.is_cross_signed());
}

#[test]
fn a_device_that_was_not_verified_gets_nothing() {
    let (mut world, mut alice, mut second, _bob, event) = two_devices(false);
    for name in SecretName::ALL {
        let content = json!({
            "action": "request", "name": name.as_str(), "request_id": "1", "requesting_device_id": "ALICE2",
        });
        let request =
            json!({ "type": "m.secret.request", "sender": alice.user_id(), "content": content });
        world.device(&alice).inbox.push(request);
    }
    let content = json!({
        "action": "request", "request_id": "2", "requesting_device_id": "ALICE2",
        "body": {
            "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "session_id": event["content"]["session_id"],
        },
    });
    let request =
        json!({ "type": "m.room_key_request", "sender": alice.user_id(), "content": content });
    world.device(&alice).inbox.push(request);
    world.sync(&mut alice);
    assert!(world.device(&second).inbox.is_empty());
    world.sync(&mut second);
    assert!(!second.machine.has_cross_signing_keys());
    assert!(!second.machine.is_cross_signed());
}

#[test]
fn a_verified_device_gets_a_key_that_it_asks_for_and_the_copy_proves_no_sender() {
    let (mut world, mut alice, mut second, mut bob, event) = two_devices(true);
    assert!(matches!(
        second.body(&event, world.now_ms),
        Err(Undecryptable::MissingRoomKey { .. })
    ));
    ask(&mut world, &mut second, &mut alice, &event);
    let decrypted = second.decrypt(&event, world.now_ms).unwrap();
    assert_eq!(decrypted.content["body"], "before");
    assert_eq!(
        (decrypted.trust, decrypted.trust.proves_sender()),
        (Trust::Imported, false)
    );
    assert!(second.machine.key_requests.is_empty());
    // Bob's own key, when it comes, proves him.
    let members = [user("alice"), user("bob")];
    world.sync(&mut bob);
    world
        .share(&mut bob, &members, &Default::default())
        .unwrap();
    let later = world.send_only(&mut bob, &text("after"), EncryptOptions::default());
    let staged = second.machine.update_tracked_users(&members).unwrap();
    second.keep(staged);
    world.sync(&mut second);
    assert!(
        second
            .decrypt(&later, world.now_ms)
            .unwrap()
            .trust
            .proves_sender()
    );
    assert_eq!(second.body(&event, world.now_ms).unwrap(), "before");
}

#[test]
fn a_copy_under_anothers_name_is_refused_where_the_owner_is_known() {
    let (mut world, mut alice, mut second, bob, mut event) = two_devices(true);
    ask(&mut world, &mut second, &mut alice, &event);
    let staged = second
        .machine
        .update_tracked_users(&[bob.user_id(), user("mallory")])
        .unwrap();
    second.keep(staged);
    world.pump(&mut second);
    event["sender"] = json!(user("mallory"));
    assert_eq!(
        second.body(&event, world.now_ms),
        Err(Undecryptable::SenderMismatch)
    );
    event["sender"] = json!(bob.user_id());
    assert_eq!(second.body(&event, world.now_ms).unwrap(), "before");
}

#[test]
fn a_member_who_passes_a_key_on_as_hers_takes_no_copy_away() {
    let (mut world, mut alice, mut second, _bob, event) = two_devices(true);
    let session_id = event["content"]["session_id"].as_str().unwrap();
    ask(&mut world, &mut second, &mut alice, &event);
    let copy = InboundKey::imported(session_id);
    let session = second.machine.inbound[&copy].session.pickle();
    let record = InboundRecord {
        session: vodozemac::megolm::InboundGroupSession::from_pickle(session),
        room_id: room(),
        sender_curve25519: "mallory's".to_owned(),
        sender_ed25519: "mallory's".to_owned(),
        expiry: None,
        imported: false,
        backed_up_in: None,
    };
    let key = InboundKey::new(&user("mallory"), session_id);
    let taken = second.machine.import_session(&key, record, world.now_ms);
    assert_eq!(taken.unwrap(), Ok(true));
    assert_eq!(second.body(&event, world.now_ms).unwrap(), "before");
    // Nor does hers keep a copy from coming in.
    let exported = alice.machine.export_room_keys().unwrap();
    second.machine.inbound.remove(&copy);
    let staged = second.machine.import_room_keys(&exported).unwrap();
    assert_eq!(second.keep(staged).imported, 1);
    assert_eq!(second.body(&event, world.now_ms).unwrap(), "before");
}

/// Alice sends a forwarded key of her own accord.
fn push_key(world: &mut World, alice: &mut Client, second: &Client, event: &Value) {
    let session_id = event["content"]["session_id"].as_str().unwrap();
    let key = alice
        .machine
        .inbound
        .iter()
        .find(|(key, _)| key.session_id == session_id)
        .unwrap();
    let key = key.1.forwarded().unwrap().unwrap();
    let (user_id, device_id) = (second.user_id(), second.machine.device_id().to_owned());
    let device = alice.machine.users[&user_id].devices[&device_id].clone();
    let message = alice.machine.encrypt_olm(
        &user_id,
        &device_id,
        &device,
        "m.forwarded_room_key",
        &key,
        None,
    );
    let content: Value =
        serde_json::from_str(message.unwrap().expect("a session").json().get()).unwrap();
    let pushed = json!({ "type": "m.room.encrypted", "sender": user_id, "content": content });
    world.device(second).inbox.push(pushed);
}

#[test]
fn a_key_that_nobody_asked_for_is_refused_even_from_a_verified_device() {
    let (mut world, mut alice, mut second, _bob, event) = two_devices(true);
    push_key(&mut world, &mut alice, &second, &event);
    world.sync(&mut second);
    let refused = |notice: &Notice| {
        matches!(
            notice,
            Notice::RoomKeyRefused {
                reason: RoomKeyRefusal::Forwarded,
                ..
            }
        )
    };
    assert!(second.notices.iter().any(refused));
    assert!(second.body(&event, world.now_ms).is_err());
    // What was missing is the request alone.
    let session_id = event["content"]["session_id"].as_str().unwrap();
    let asked = second
        .machine
        .request_room_key(&room(), session_id, None)
        .unwrap();
    second.keep(asked);
    push_key(&mut world, &mut alice, &second, &event);
    world.sync(&mut second);
    assert_eq!(second.body(&event, world.now_ms).unwrap(), "before");
}

#[test]
fn keys_of_expiring_messages_are_given_to_nobody() {
    let (mut world, mut alice, mut second, mut bob, _) = two_devices(true);
    let members = [user("alice"), user("bob")];
    // Written before the second device is known to Bob.
    let event = world.send(&mut bob, &members, "brief", lasting(ExpiryClass::Hour1));
    world.sync(&mut alice);
    let session_id = event["content"]["session_id"].as_str().unwrap().to_owned();
    if second.body(&event, world.now_ms).is_err() {
        ask(&mut world, &mut second, &mut alice, &event);
        let why = second.body(&event, world.now_ms).unwrap_err();
        assert!(
            matches!(&why, Undecryptable::MissingRoomKey { withheld: Some(code), .. } if code == "m.unauthorised"),
            "{why:?}"
        );
        assert!(why.next_step().contains("does not give"));
    }
    let held = alice.machine.inbound.iter();
    let held = held.filter(|(key, _)| key.session_id == session_id);
    assert!(
        held.into_iter()
            .all(|(_, record)| record.export().is_none())
    );
    let exported = alice.machine.export_room_keys().unwrap();
    let exported = std::str::from_utf8(exported.expose()).unwrap();
    assert!(!exported.contains(&session_id));
}

#[test]
fn secrets_that_are_not_ours_are_refused() {
    let (mut world, alice, mut second, _bob, _) = two_devices(false);
    let stranger = {
        let mut stranger = world.client("carol", "CAROL1");
        world.publish_cross_signing(&mut stranger);
        stranger.machine.export_secrets()
    };
    let staged = second.machine.mark_all_outdated().unwrap();
    second.keep(staged);
    world.pump(&mut second);
    for (name, secret) in &stranger {
        assert!(second.machine.import_secret(*name, secret).is_err());
    }
    assert!(!second.machine.has_cross_signing_keys());
    for (name, secret) in &alice.machine.export_secrets() {
        let staged = second.machine.import_secret(*name, secret).unwrap();
        second.keep(staged);
    }
    world.pump(&mut second);
    assert!(second.machine.has_cross_signing_keys() && second.machine.is_cross_signed());
}

#[test]
fn a_request_that_a_server_repeats_is_answered_once() {
    let (mut world, mut alice, mut second, _, event) = two_devices(true);
    let session_id = event["content"]["session_id"].as_str().unwrap();
    let asked = second.machine.request_room_key(&room(), session_id, None);
    second.keep(asked.unwrap());
    world.pump(&mut second);
    let request = world.device(&alice).inbox.last().unwrap().clone();
    assert_eq!(request["type"], "m.room_key_request");
    let waiting = world.device(&second).inbox.len();
    world.sync(&mut alice);
    assert_eq!(world.device(&second).inbox.len(), waiting + 1);
    for number in 0..20 {
        let mut again = request.clone();
        again["content"]["request_id"] = format!("again{number}").into();
        world.device(&alice).inbox.push(again);
    }
    world.sync(&mut alice);
    assert_eq!(world.device(&second).inbox.len(), waiting + 1);
}
