//! Expiring messages: keys die with them, and nothing brings them back.

use serde_json::{Value, json};

use super::world::*;
use crate::crypto::{EncryptOptions, RoomKeySettings, Undecryptable};
use crate::expiry::{ExpiryClass, ExpiryStamp};

const MINUTE_MS: u64 = 60_000;
const HOUR: ExpiryClass = ExpiryClass::Hour1;

fn sweep(client: &mut Client, now_ms: u64) -> crate::crypto::SweepOutcome {
    let staged = client.machine.sweep(now_ms).unwrap();
    client.keep(staged)
}

#[test]
fn each_class_has_its_own_session_and_stamps_inside_and_outside() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let stamp = ExpiryStamp {
        class: HOUR,
        after_read_ms: Some(5_000),
        view_once: true,
    };
    let expiring = world.send(
        &mut alice,
        &members,
        "soon gone",
        EncryptOptions {
            expiry: Some(stamp),
            hide_relation: false,
        },
    );
    let lasting = world.send(&mut alice, &members, "stays", EncryptOptions::default());
    assert_ne!(
        expiring["content"]["session_id"],
        lasting["content"]["session_id"]
    );
    // Servers see the class alone.
    assert_eq!(
        expiring["content"]["org.passeur.expiry"],
        json!({ "ttl_ms": HOUR.as_ms() })
    );
    let ttls: Vec<_> = world
        .device(&bob)
        .inbox
        .iter()
        .map(|event| event["content"].get("org.passeur.ttl_ms").cloned())
        .collect();
    assert_eq!(ttls, [Some(Value::from(HOUR.as_ms())), None]);
    world.sync(&mut bob);
    let expiry = bob
        .decrypt(&expiring, world.now_ms)
        .unwrap()
        .expiry
        .unwrap();
    assert_eq!(
        (expiry.class, expiry.deadline_ms),
        (HOUR, world.now_ms + HOUR.as_ms())
    );
    assert_eq!(
        (expiry.after_read_ms, expiry.view_once, expiry.tampered),
        (Some(5_000), true, false)
    );
    assert!(
        bob.decrypt(&lasting, world.now_ms)
            .unwrap()
            .expiry
            .is_none()
    );
}

#[test]
fn an_expiring_session_is_replaced_after_a_quarter_of_its_class() {
    let (mut world, mut alice, _bob, members) = alice_and_bob();
    let one = world.send(&mut alice, &members, "one", lasting(HOUR));
    world.now_ms += 15 * MINUTE_MS;
    let two = world.send(&mut alice, &members, "two", lasting(HOUR));
    assert_ne!(one["content"]["session_id"], two["content"]["session_id"]);
}

#[test]
fn after_the_deadline_nobody_can_decrypt_whatever_is_served_again() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let one = world.send(&mut alice, &members, "one", lasting(HOUR));
    let keys = world.device(&bob).inbox.clone();
    world.now_ms += 10 * MINUTE_MS;
    let two = world.send(&mut alice, &members, "two", lasting(HOUR));
    world.sync(&mut bob);
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.body(&one, world.now_ms).unwrap(), "one");
        assert_eq!(client.body(&two, world.now_ms).unwrap(), "two");
    }
    world.now_ms += 50 * MINUTE_MS;
    for client in [&mut alice, &mut bob] {
        let swept = sweep(client, world.now_ms);
        assert_eq!((swept.sessions_advanced, swept.sessions_deleted), (1, 0));
        client.restart();
        assert_eq!(client.body(&one, world.now_ms), Err(Undecryptable::Expired));
        assert_eq!(client.body(&two, world.now_ms).unwrap(), "two");
    }
    // The server serves the room key again: it is clamped to the floor. (Olm itself refuses the replay; a merge would, too.)
    world.device(&bob).inbox = keys;
    world.sync(&mut bob);
    assert_eq!(bob.body(&one, world.now_ms), Err(Undecryptable::Expired));
    world.now_ms += 60 * MINUTE_MS;
    for client in [&mut alice, &mut bob] {
        assert_eq!(sweep(client, world.now_ms).sessions_deleted, 1);
        client.restart();
        assert_eq!(client.body(&two, world.now_ms), Err(Undecryptable::Expired));
        assert!(
            client.machine.inbound.is_empty()
                && client.machine.outbound.is_empty()
                && client.machine.replay.is_empty()
        );
    }
}

#[test]
fn without_a_sweep_the_key_still_decrypts() {
    // The negative control: what makes the message undecryptable is the key's destruction, not the check of the clock.
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let one = world.send(&mut alice, &members, "one", lasting(HOUR));
    world.sync(&mut bob);
    world.now_ms += 2 * 60 * MINUTE_MS;
    let key = bob.machine.inbound.keys().next().unwrap().clone();
    let ciphertext = one["content"]["ciphertext"].as_str().unwrap();
    let message = vodozemac::megolm::MegolmMessage::from_base64(ciphertext).unwrap();
    assert!(
        bob.machine
            .inbound
            .get_mut(&key)
            .unwrap()
            .session
            .decrypt(&message)
            .is_ok()
    );
    assert_eq!(bob.body(&one, world.now_ms), Err(Undecryptable::Expired));
}

#[test]
fn an_import_is_clamped_to_the_floor_before_it_is_merged() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let one = world.send(&mut alice, &members, "one", lasting(HOUR));
    world.now_ms += 10 * MINUTE_MS;
    let two = world.send(&mut alice, &members, "two", lasting(HOUR));
    world.sync(&mut bob);
    bob.body(&one, world.now_ms).unwrap();
    let key = bob.machine.inbound.keys().next().unwrap().clone();
    let old = serde_json::to_string(&bob.machine.inbound[&key]).unwrap();
    world.now_ms += 50 * MINUTE_MS;
    sweep(&mut bob, world.now_ms);
    // Unclamped, the old copy decrypts: the negative control.
    let mut copy: crate::crypto::inbound::InboundRecord = serde_json::from_str(&old).unwrap();
    let ciphertext = one["content"]["ciphertext"].as_str().unwrap();
    let message = vodozemac::megolm::MegolmMessage::from_base64(ciphertext).unwrap();
    assert!(copy.session.decrypt(&message).is_ok());
    let copy = serde_json::from_str(&old).unwrap();
    assert_eq!(
        bob.machine
            .import_session(&key, copy, world.now_ms)
            .unwrap(),
        Ok(false)
    );
    assert_eq!(bob.body(&one, world.now_ms), Err(Undecryptable::Expired));
    assert_eq!(bob.body(&two, world.now_ms).unwrap(), "two");
    // Even with the session gone, the floor stands.
    bob.machine.inbound.remove(&key);
    let copy = serde_json::from_str(&old).unwrap();
    assert_eq!(
        bob.machine
            .import_session(&key, copy, world.now_ms)
            .unwrap(),
        Ok(true)
    );
    assert_eq!(bob.body(&one, world.now_ms), Err(Undecryptable::Expired));
    world.now_ms += 60 * MINUTE_MS;
    sweep(&mut bob, world.now_ms);
    let copy = serde_json::from_str(&old).unwrap();
    let refused = bob
        .machine
        .import_session(&key, copy, world.now_ms)
        .unwrap();
    assert_eq!(refused, Err(crate::crypto::RoomKeyRefusal::Dead));
}

#[test]
fn a_message_that_was_never_received_dies_with_its_session() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let lost = world.send(&mut alice, &members, "lost", lasting(HOUR));
    world.sync(&mut bob);
    let next = sweep(&mut bob, world.now_ms).next_ms.unwrap();
    assert_eq!(next, world.now_ms + HOUR.as_ms() / 4 + HOUR.as_ms());
    assert_eq!(sweep(&mut bob, next).sessions_deleted, 1);
    assert_eq!(bob.body(&lost, next), Err(Undecryptable::Expired));
}

#[test]
fn setting_the_clock_back_resurrects_nothing() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let one = world.send(&mut alice, &members, "one", lasting(HOUR));
    world.sync(&mut bob);
    sweep(&mut bob, world.now_ms + 61 * MINUTE_MS);
    bob.restart();
    assert_eq!(bob.body(&one, world.now_ms), Err(Undecryptable::Expired));
}

#[test]
fn the_shorter_of_the_inner_and_the_outer_lifetime_counts_and_a_difference_is_flagged() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let honest = world.send(&mut alice, &members, "x", lasting(HOUR));
    world.sync(&mut bob);
    let stamped = |ttl_ms: Option<u64>, id: &str| {
        let mut event = honest.clone();
        let content = event["content"].as_object_mut().unwrap();
        content.remove("org.passeur.expiry");
        if let Some(ttl_ms) = ttl_ms {
            content.insert("org.passeur.expiry".to_owned(), json!({ "ttl_ms": ttl_ms }));
        }
        let _ = id;
        event
    };
    for (outer, class) in [
        (Some(ExpiryClass::Days28.as_ms()), HOUR),
        (None, HOUR),
        (Some(ExpiryClass::Minutes5.as_ms()), ExpiryClass::Minutes5),
    ] {
        let expiry = bob
            .decrypt(&stamped(outer, "$x"), world.now_ms)
            .unwrap()
            .expiry
            .unwrap();
        assert_eq!((expiry.class, expiry.tampered), (class, true));
    }
    // Deadlines only move earlier: the honest stamp does not bring the hour back.
    let expiry = bob.decrypt(&honest, world.now_ms).unwrap().expiry.unwrap();
    assert_eq!(
        (expiry.deadline_ms, expiry.tampered),
        (world.now_ms + 5 * MINUTE_MS, false)
    );
}

#[test]
fn a_server_can_neither_extend_a_life_by_its_timestamp_nor_destroy_a_session_with_it() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let mut future = world.send(&mut alice, &members, "future", lasting(HOUR));
    future["origin_server_ts"] = json!(world.now_ms + 1_000_000_000);
    world.sync(&mut bob);
    let expiry = bob.decrypt(&future, world.now_ms).unwrap().expiry.unwrap();
    assert_eq!(expiry.deadline_ms, world.now_ms + HOUR.as_ms());
    let mut past = world.send_only(&mut alice, &text("past"), lasting(HOUR));
    past["origin_server_ts"] = json!(0);
    let expiry = bob.decrypt(&past, world.now_ms).unwrap().expiry.unwrap();
    assert_eq!(expiry.deadline_ms, world.now_ms + HOUR.as_ms());
}

#[test]
fn a_sender_cannot_make_a_session_outlive_its_class() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world
        .share(
            &mut alice,
            &members,
            &RoomKeySettings {
                expiry: Some(HOUR),
                ..Default::default()
            },
        )
        .unwrap();
    // Alice's client is dishonest about when the session dies.
    let key = alice.machine.outbound.keys().next().unwrap().clone();
    let record = alice.machine.outbound.get_mut(&key).unwrap();
    record.expiry.as_mut().unwrap().dead_at_ms = u64::MAX;
    alice.machine.shares.clear();
    world.device(&bob).inbox.clear();
    world
        .share(
            &mut alice,
            &members,
            &RoomKeySettings {
                expiry: Some(HOUR),
                ..Default::default()
            },
        )
        .unwrap();
    world.sync(&mut bob);
    let next = sweep(&mut bob, world.now_ms).next_ms.unwrap();
    assert_eq!(next, world.now_ms + HOUR.as_ms() * 5 / 4);
}

#[test]
fn a_key_that_died_before_it_was_sent_is_not_sent() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    world.device(&bob).inbox.clear();
    let settings = RoomKeySettings {
        expiry: Some(HOUR),
        ..Default::default()
    };
    let staged = alice
        .machine
        .share_room_key(&room(), &members, &settings, world.now_ms)
        .unwrap();
    alice.keep(staged);
    assert_eq!(alice.machine.outgoing.len(), 1);
    world.now_ms += 2 * HOUR.as_ms();
    sweep(&mut alice, world.now_ms);
    world.pump(&mut alice);
    assert!(world.device(&bob).inbox.is_empty());
}

#[test]
fn a_request_for_an_expiring_key_is_refused_and_others_are_not_answered() {
    let (mut world, mut alice, _bob, members) = alice_and_bob();
    let mut bob2 = world.client("bob", "BOB2");
    let expiring = world.send(&mut alice, &members, "x", lasting(HOUR));
    let staying = world.send(&mut alice, &members, "x", EncryptOptions::default());
    world.sync(&mut bob2);
    for event in [&staying, &expiring] {
        let content = json!({
            "action": "request",
            "requesting_device_id": "BOB2",
            "request_id": "1",
            "body": {
                "algorithm": "m.megolm.v1.aes-sha2",
                "room_id": room(),
                "session_id": event["content"]["session_id"],
            },
        });
        let request =
            json!({ "type": "m.room_key_request", "sender": user("bob"), "content": content });
        world.device(&alice).inbox.push(request);
    }
    world.sync(&mut alice);
    let [answer] = &world.device(&bob2).inbox[..] else {
        panic!("one answer")
    };
    assert_eq!(answer["content"]["code"], "m.unauthorised");
    assert_eq!(
        answer["content"]["session_id"],
        expiring["content"]["session_id"]
    );
}

#[test]
fn edits_and_reactions_die_with_what_they_refer_to_and_replies_do_not() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let target = world.send(&mut alice, &members, "soon gone", lasting(HOUR));
    let deadline_ms = world.now_ms + HOUR.as_ms();
    world.now_ms += MINUTE_MS;
    // A member who wants it to stay does not stamp the edit.
    world.send(&mut alice, &members, "first", EncryptOptions::default());
    let mut say = |relation: Value| {
        let mut content = text("stays");
        content.insert("m.relates_to".to_owned(), relation);
        world.send_only(&mut alice, &content, EncryptOptions::default())
    };
    let id = target["event_id"].clone();
    let referring = ["m.replace", "m.annotation", "m.reference"]
        .map(|kind| say(json!({"rel_type": kind, "event_id": id})));
    let others = [
        say(json!({"m.in_reply_to": {"event_id": id}})),
        say(json!({"rel_type": "m.thread", "event_id": id})),
        say(json!({"rel_type": "m.replace", "event_id": "$unknown"})),
    ];
    world.sync(&mut bob);
    bob.decrypt(&target, world.now_ms).unwrap();
    bob.restart();
    for event in &referring {
        let expiry = bob.decrypt(event, world.now_ms).unwrap().expiry.unwrap();
        assert_eq!((expiry.class, expiry.deadline_ms), (HOUR, deadline_ms));
    }
    for event in &others {
        assert_eq!(bob.decrypt(event, world.now_ms).unwrap().expiry, None);
    }
    // The target's key is destroyed; that it died is remembered, and in the end forgotten.
    sweep(&mut bob, deadline_ms);
    bob.restart();
    for event in &referring {
        assert_eq!(bob.body(event, deadline_ms), Err(Undecryptable::Expired));
    }
    let target_id = ruma::EventId::parse(id.as_str().unwrap()).unwrap();
    assert!(bob.machine.deadline_of(&target_id).is_some());
    sweep(&mut bob, deadline_ms + ExpiryClass::Days28.as_ms());
    assert!(bob.machine.deadline_of(&target_id).is_none());
}

#[test]
fn an_edit_that_is_read_before_its_target_dies_with_it_all_the_same() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let target = world.send(&mut alice, &members, "soon gone", lasting(HOUR));
    let deadline_ms = world.now_ms + HOUR.as_ms();
    world.send(&mut alice, &members, "first", EncryptOptions::default());
    let mut content = text("stays");
    let id = target["event_id"].clone();
    content.insert(
        "m.relates_to".to_owned(),
        json!({"rel_type": "m.replace", "event_id": id}),
    );
    let edit = world.send_only(&mut alice, &content, EncryptOptions::default());
    world.sync(&mut bob);
    let edit_id = ruma::EventId::parse(edit["event_id"].as_str().unwrap()).unwrap();
    // As long as its target was not read nothing says when it dies.
    assert_eq!(bob.decrypt(&edit, world.now_ms).unwrap().expiry, None);
    assert_eq!(bob.machine.deadline_of(&edit_id), None);
    bob.restart();
    bob.decrypt(&target, world.now_ms).unwrap();
    let deadline = bob.machine.deadline_of(&edit_id).unwrap();
    assert_eq!((deadline.class, deadline.at_ms), (HOUR, deadline_ms));
    bob.restart();
    assert_eq!(bob.body(&edit, deadline_ms), Err(Undecryptable::Expired));
}
