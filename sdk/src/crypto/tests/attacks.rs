//! Attacks of the homeserver, and of other members, on what is sent and received in rooms.

use ruma::{OwnedDeviceId, RoomId, serde::JsonObject};
use serde_json::json;
use vodozemac::Ed25519SecretKey;

use super::world::*;
use crate::crypto::{
    EncryptOptions, MemberPolicy, Notice, PlaintextVerdict, Relation, RoomKeySettings, ShareError,
    SharingPolicy, Trust, Undecryptable, signing::sign,
};

#[test]
fn a_forged_join_gets_no_key_under_the_strict_policy_and_one_under_the_open() {
    for (policy, reached) in [(MemberPolicy::Confirm, false), (MemberPolicy::Open, true)] {
        let (mut world, mut alice, _bob, members) = alice_and_bob();
        let ghost = world.client("ghost", "GHOST1");
        let settings = RoomKeySettings {
            members: policy,
            ..RoomKeySettings::default()
        };
        world.share(&mut alice, &members, &settings).unwrap();
        let forged = [members[0].clone(), members[1].clone(), ghost.user_id()];
        let shared = world.share(&mut alice, &forged, &settings);
        assert_eq!(
            matches!(shared, Err(ShareError::NewMembers { .. })),
            !reached
        );
        assert_eq!(!world.device(&ghost).inbox.is_empty(), reached);
        let told = alice.notices.contains(&Notice::NewMember {
            room_id: room(),
            user_id: ghost.user_id(),
        });
        assert_eq!(told, reached);
    }
}

#[test]
fn a_ghost_device_of_a_user_with_cross_signing_gets_no_key_and_is_hidden() {
    for (devices, reached) in [
        (SharingPolicy::CrossSignedWherePossible, false),
        (SharingPolicy::AllDevices, true),
    ] {
        let (mut world, mut alice, mut bob, members) = alice_and_bob();
        world.publish_cross_signing(&mut bob);
        let mut ghost = world.client("bob", "GHOST1");
        let settings = RoomKeySettings {
            devices,
            ..RoomKeySettings::default()
        };
        world.share(&mut alice, &members, &settings).unwrap();
        let event = world.send_only(&mut alice, &text("secret"), EncryptOptions::default());
        if !reached {
            assert_eq!(
                world.device(&ghost).inbox[0]["content"]["code"],
                "m.unverified"
            );
        }
        world.sync(&mut bob);
        world.sync(&mut ghost);
        assert_eq!(bob.body(&event, world.now_ms).unwrap(), "secret");
        match ghost.body(&event, world.now_ms) {
            Ok(_) => assert!(reached),
            Err(reason) => {
                let withheld = Some("m.unverified".to_owned());
                assert!(
                    !reached
                        && matches!(reason, Undecryptable::MissingRoomKey { withheld: code, .. } if code == withheld)
                );
            }
        }
        // What the ghost says is not to be shown as Bob's.
        let event = world.send(&mut ghost, &members, "I am Bob", EncryptOptions::default());
        world.sync(&mut alice);
        let decrypted = alice.decrypt(&event, world.now_ms).unwrap();
        assert_eq!(
            (decrypted.trust, decrypted.trust.should_hide()),
            (Trust::Unsigned, true)
        );
    }
}

#[test]
fn a_device_under_the_id_of_a_cross_signing_key_is_refused() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.publish_cross_signing(&mut bob);
    let master = bob.machine.users[&bob.user_id()]
        .identity
        .as_ref()
        .unwrap()
        .master
        .clone();
    let ghost = world.client("bob", &master);
    world
        .share(&mut alice, &members, &RoomKeySettings::default())
        .unwrap();
    let refused = Notice::DeviceRefused {
        user_id: bob.user_id(),
        device_id: OwnedDeviceId::from(master.as_str()),
    };
    assert!(alice.notices.contains(&refused));
    assert_eq!(alice.machine.devices(&bob.user_id()).len(), 1);
    assert!(world.device(&ghost).inbox.is_empty());
}

#[test]
fn a_changed_sender_is_noticed() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let mut event = world.send(&mut alice, &members, "hello", EncryptOptions::default());
    world.sync(&mut bob);
    event["sender"] = json!(user("mallory"));
    assert_eq!(
        bob.body(&event, world.now_ms),
        Err(Undecryptable::SenderMismatch)
    );
    event["sender"] = json!(alice.user_id());
    assert_eq!(bob.body(&event, world.now_ms).unwrap(), "hello");
}

#[test]
fn a_key_passed_on_as_ones_own_does_not_take_the_owners_messages() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let mut mallory = world.client("mallory", "MALLORY1");
    let all = [members[0].clone(), members[1].clone(), mallory.user_id()];
    world
        .share(&mut alice, &all, &RoomKeySettings::default())
        .unwrap();
    world.sync(&mut mallory);
    // Mallory hands Alice's session key to Bob as hers, before Alice's own arrives.
    let own = world.device(&bob).inbox.pop().unwrap();
    let record = alice.machine.outbound.values().next().unwrap();
    let key = json!({
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": room(), "session_id": record.session.session_id(),
        "session_key": record.session.session_key().to_base64(),
    });
    world
        .share(&mut mallory, &all, &RoomKeySettings::default())
        .unwrap();
    let bob_id = bob.user_id();
    let device = mallory.machine.users[&bob_id]
        .devices
        .values()
        .next()
        .unwrap()
        .clone();
    let content = key.as_object().unwrap();
    let stolen = mallory
        .machine
        .encrypt_olm(&bob_id, "BOB1".into(), &device, "m.room_key", content, None)
        .unwrap()
        .unwrap();
    let stolen: serde_json::Value = serde_json::from_str(stolen.json().get()).unwrap();
    let stolen =
        json!({ "type": "m.room.encrypted", "sender": mallory.user_id(), "content": stolen });
    world.device(&bob).inbox.push(stolen);
    world.sync(&mut bob);
    let event = world.send_only(&mut alice, &text("hello"), EncryptOptions::default());
    assert_eq!(
        bob.body(&event, world.now_ms),
        Err(Undecryptable::SenderMismatch)
    );
    world.device(&bob).inbox.push(own);
    world.sync(&mut bob);
    assert_eq!(bob.body(&event, world.now_ms).unwrap(), "hello");
}

#[test]
fn an_event_moved_to_another_room_is_refused() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let event = world.send(&mut alice, &members, "hello", EncryptOptions::default());
    world.sync(&mut bob);
    let other = RoomId::parse("!other:a.example").unwrap();
    assert_eq!(
        bob.decrypt_in(&other, &event, world.now_ms).unwrap_err(),
        Undecryptable::RoomMismatch
    );
    // A member may be dishonest about a session's room: the plaintext says it as well.
    bob.machine
        .inbound
        .values_mut()
        .for_each(|record| record.room_id = other.clone());
    assert_eq!(
        bob.decrypt_in(&other, &event, world.now_ms).unwrap_err(),
        Undecryptable::RoomMismatch
    );
}

#[test]
fn an_old_ciphertext_under_a_new_id_is_a_replay_and_the_same_event_is_not() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let event = world.send(&mut alice, &members, "yes", EncryptOptions::default());
    world.sync(&mut bob);
    bob.body(&event, world.now_ms).unwrap();
    bob.restart();
    let mut replay = event.clone();
    replay["event_id"] = json!("$later");
    assert_eq!(bob.body(&replay, world.now_ms), Err(Undecryptable::Replay));
    let mut shifted = event.clone();
    shifted["origin_server_ts"] = json!(world.now_ms + 1);
    assert_eq!(bob.body(&shifted, world.now_ms), Err(Undecryptable::Replay));
    assert_eq!(bob.body(&event, world.now_ms).unwrap(), "yes");
}

#[test]
fn an_event_that_is_sent_again_says_that_it_was_seen() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let event = world.send(&mut alice, &members, "!deploy", EncryptOptions::default());
    world.sync(&mut bob);
    for seen_before in [false, true, true] {
        let decrypted = bob.decrypt(&event, world.now_ms).unwrap();
        assert_eq!(decrypted.seen_before, seen_before);
        bob.restart();
    }
    // Our own, too, is seen once when it comes back.
    for seen_before in [false, true] {
        let decrypted = alice.decrypt(&event, world.now_ms).unwrap();
        assert_eq!(decrypted.seen_before, seen_before);
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let mut event = world.send(&mut alice, &members, "yes", EncryptOptions::default());
    world.sync(&mut bob);
    let mut bytes =
        vodozemac::base64_decode(event["content"]["ciphertext"].as_str().unwrap()).unwrap();
    bytes[20] ^= 1;
    event["content"]["ciphertext"] = json!(vodozemac::base64_encode(bytes));
    assert_eq!(
        bob.body(&event, world.now_ms),
        Err(Undecryptable::BadCiphertext)
    );
}

#[test]
fn encryption_is_sticky_and_plaintext_that_touches_encrypted_events_is_rejected() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let relating = |relation| {
        let mut content = text("edited");
        content.insert("m.relates_to".to_owned(), relation);
        content
    };
    let edit = relating(json!({ "rel_type": "m.replace", "event_id": "$event1" }));
    let poll = relating(json!({ "rel_type": "m.reference", "event_id": "$event1" }));
    fn judge(client: &Client, event_type: &str, content: &JsonObject) -> PlaintextVerdict {
        client.machine.judge_plaintext(&room(), event_type, content)
    }
    assert_eq!(judge(&bob, "m.room.message", &edit), PlaintextVerdict::Fine);
    let event = world.send(&mut alice, &members, "hello", EncryptOptions::default());
    world.sync(&mut bob);
    bob.body(&event, world.now_ms).unwrap();
    for client in [&mut alice, &mut bob] {
        client.restart();
        assert!(client.machine.is_room_encrypted(&room()));
        assert_eq!(
            judge(client, "m.room.message", &edit),
            PlaintextVerdict::Reject
        );
        assert_eq!(
            judge(client, "m.poll.response", &poll),
            PlaintextVerdict::Reject
        );
        assert_eq!(
            judge(client, "m.room.message", &text("plain")),
            PlaintextVerdict::Unencrypted
        );
        assert_eq!(
            judge(client, "m.room.redaction", &text("")),
            PlaintextVerdict::Fine
        );
    }
}

#[test]
fn a_relation_that_the_server_changed_is_flagged_and_the_inner_one_counts() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world
        .share(&mut alice, &members, &RoomKeySettings::default())
        .unwrap();
    world.sync(&mut bob);
    let relation = json!({ "rel_type": "m.replace", "event_id": "$mine" });
    let mut content = text("edit");
    content.insert("m.relates_to".to_owned(), relation.clone());
    let event = world.send_only(&mut alice, &content, EncryptOptions::default());
    assert_eq!(event["content"]["m.relates_to"], relation);
    assert_eq!(
        bob.decrypt(&event, world.now_ms).unwrap().relation,
        Relation::Authenticated
    );
    let mut tampered = event.clone();
    tampered["content"]["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": "$other" });
    let decrypted = bob.decrypt(&tampered, world.now_ms).unwrap();
    assert_eq!(
        (decrypted.relation, &decrypted.content["m.relates_to"]),
        (Relation::Tampered, &relation)
    );
    let plain = world.send_only(&mut alice, &text("x"), EncryptOptions::default());
    let mut added = plain.clone();
    added["content"]["m.relates_to"] = relation.clone();
    assert_eq!(
        bob.decrypt(&added, world.now_ms).unwrap().relation,
        Relation::Unauthenticated
    );
    let hidden = EncryptOptions {
        hide_relation: true,
        ..EncryptOptions::default()
    };
    let event = world.send_only(&mut alice, &content, hidden);
    assert!(event["content"].get("m.relates_to").is_none());
    assert_eq!(
        bob.decrypt(&event, world.now_ms).unwrap().content["m.relates_to"],
        relation
    );
}

#[test]
fn device_keys_that_are_not_signed_or_anothers_are_refused() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    let mallory = world.client("mallory", "MALLORY1");
    let stolen = world.device(&mallory).keys.clone();
    let mut swapped = world.device(&bob).keys.clone();
    swapped["keys"]["curve25519:BOB1"] = json!(mallory.machine.curve25519_key());
    for keys in [stolen, swapped, json!({}), json!([1]), json!("x")] {
        world.device(&bob).keys = keys;
        world.changes.push(bob.user_id());
        world.sync(&mut alice);
        world
            .share(&mut alice, &members, &RoomKeySettings::default())
            .unwrap();
        assert!(alice.machine.devices(&bob.user_id()).is_empty());
        assert!(
            alice
                .notices
                .iter()
                .any(|notice| matches!(notice, Notice::DeviceRefused { .. }))
        );
        alice.notices.clear();
    }
    assert!(world.device(&bob).inbox.is_empty());
}

#[test]
fn a_self_signing_key_that_the_master_key_has_not_signed_signs_nothing() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.publish_cross_signing(&mut bob);
    // The server makes a self-signing key of its own and signs a ghost with it.
    let evil = Ed25519SecretKey::new();
    let public = evil.public_key().to_base64();
    let key = json!({ "user_id": bob.user_id(), "usage": ["self_signing"], "keys": { format!("ed25519:{public}"): public } });
    world.self_signing.insert(bob.user_id(), key);
    let ghost = world.client("bob", "GHOST1");
    let keys = &mut world.device(&ghost).keys;
    sign(
        keys.as_object_mut().unwrap(),
        &bob.user_id(),
        &public,
        |bytes| evil.sign(bytes),
    )
    .unwrap();
    world
        .share(&mut alice, &members, &RoomKeySettings::default())
        .unwrap();
    assert!(
        world
            .device(&ghost)
            .inbox
            .iter()
            .all(|event| event["type"] == "m.room_key.withheld")
    );
}

#[test]
fn our_own_device_replaced_at_the_server_is_noticed() {
    let (mut world, mut alice, bob, _) = alice_and_bob();
    world.device(&alice).keys = serde_json::Value::clone(&world.device(&bob).keys);
    let staged = alice.machine.mark_all_outdated().unwrap();
    alice.keep(staged);
    world.pump(&mut alice);
    assert!(alice.notices.contains(&Notice::OwnDeviceKeysReplaced));
}

#[test]
fn a_message_that_is_withheld_leaves_a_gap_that_is_told() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let options = EncryptOptions::default();
    let first = world.send(&mut alice, &members, "one", options);
    let withheld = world.send_only(&mut alice, &text("two"), options);
    let third = world.send_only(&mut alice, &text("three"), options);
    let fourth = world.send_only(&mut alice, &text("four"), options);
    world.sync(&mut bob);
    let now_ms = world.now_ms;
    let mut missing = |event| bob.decrypt(event, now_ms).unwrap().missing_before;
    assert_eq!([&first, &third, &fourth].map(&mut missing), [0, 1, 0]);
    // Once it comes, nothing is missing, and reading again says so.
    assert_eq!([&withheld, &third].map(&mut missing), [0, 0]);
}
