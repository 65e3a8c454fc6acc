//! What should work: messages between devices, restarts, rotation, key upkeep.

use ruma::OwnedUserId;

use super::world::*;
use crate::crypto::{
    EncryptError, EncryptOptions, IncomingResponse, MemberPolicy, Notice, OutgoingBody, Relation,
    RoomKeySettings, Rotation, ShareError, SharingPolicy, Trust, Undecryptable,
    account::{FALLBACK_KEY_GRACE_MS, FALLBACK_KEY_MS_MAX, FALLBACK_KEY_MS_MIN},
};

#[test]
fn a_message_reaches_every_device_of_every_member() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let mut bob2 = world.client("bob", "BOB2");
    let mut alice2 = world.client("alice", "ALICE2");
    world.sync(&mut alice);
    let settings = RoomKeySettings {
        devices: SharingPolicy::AllDevices,
        ..RoomKeySettings::default()
    };
    world.share(&mut alice, &members, &settings).unwrap();
    let event = world.send_only(&mut alice, &text("hello"), EncryptOptions::default());
    for client in [&mut bob, &mut bob2, &mut alice2] {
        let outcome = world.sync(client);
        assert_eq!(outcome.new_room_keys.len(), 1);
        let decrypted = client.decrypt(&event, world.now_ms).unwrap();
        assert_eq!(decrypted.content, text("hello"));
        assert_eq!(decrypted.event_type, "m.room.message");
        assert_eq!(decrypted.sender, alice.user_id());
        assert_eq!(decrypted.relation, Relation::None);
    }
    // The sender reads its own as well.
    assert_eq!(alice.body(&event, world.now_ms).unwrap(), "hello");
}

#[test]
fn devices_talk_both_ways_and_survive_restarts_at_every_step() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    for round in 0..4 {
        let event = world.send(
            &mut alice,
            &members,
            &format!("ping {round}"),
            EncryptOptions::default(),
        );
        alice.restart();
        world.sync(&mut bob);
        bob.restart();
        assert_eq!(
            bob.body(&event, world.now_ms).unwrap(),
            format!("ping {round}")
        );
        let event = world.send(
            &mut bob,
            &members,
            &format!("pong {round}"),
            EncryptOptions::default(),
        );
        bob.restart();
        world.sync(&mut alice);
        alice.restart();
        assert_eq!(
            alice.body(&event, world.now_ms).unwrap(),
            format!("pong {round}")
        );
    }
}

#[test]
fn a_key_that_was_not_sent_before_a_crash_is_sent_after_it_under_the_same_transaction() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let staged = alice.machine.update_tracked_users(&members).unwrap();
    alice.keep(staged);
    world.pump(&mut alice);
    let claim = alice
        .machine
        .get_missing_sessions(&members, world.now_ms)
        .unwrap();
    world.answer(&mut alice, claim);
    let staged = alice
        .machine
        .share_room_key(&room(), &members, &RoomKeySettings::default(), world.now_ms)
        .unwrap();
    alice.keep(staged);
    let event = world.send_only(&mut alice, &text("hello"), EncryptOptions::default());
    // The request reaches the server, the answer does not reach the client, which dies.
    for request in alice.machine.outgoing_requests(world.now_ms).unwrap() {
        world.respond(&alice, request.body);
    }
    alice.restart();
    let again = alice.machine.outgoing_requests(world.now_ms).unwrap();
    assert!(matches!(&again[..], [request] if matches!(&request.body, OutgoingBody::ToDevice(_))));
    for request in again {
        world.answer(&mut alice, request);
    }
    assert_eq!(world.device(&bob).inbox.len(), 1);
    world.sync(&mut bob);
    assert_eq!(bob.body(&event, world.now_ms).unwrap(), "hello");
}

#[test]
fn sharing_again_costs_nothing() {
    let (mut world, mut alice, _bob, members) = alice_and_bob();
    world.send(&mut alice, &members, "one", EncryptOptions::default());
    let before = world.transactions.len();
    world.send(&mut alice, &members, "two", EncryptOptions::default());
    assert_eq!(world.transactions.len(), before);
}

#[test]
fn steps_out_of_order_are_refused_with_what_is_missing() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    let settings = RoomKeySettings::default();
    let refused = alice
        .machine
        .share_room_key(&room(), &members, &settings, world.now_ms);
    assert!(
        matches!(refused, Err(ShareError::DevicesUnknown { users }) if users == [bob.user_id()])
    );
    world.pump(&mut alice);
    let refused = alice
        .machine
        .share_room_key(&room(), &members, &settings, world.now_ms);
    assert!(
        matches!(refused, Err(ShareError::SessionsMissing { users }) if users == [bob.user_id()])
    );
    let refused = alice.machine.encrypt_room_event(
        &room(),
        "m.room.message",
        &text("x"),
        EncryptOptions::default(),
        world.now_ms,
    );
    assert!(matches!(refused, Err(EncryptError::RoomKeyNotShared)));
}

#[test]
fn a_session_is_replaced_after_its_messages_or_its_time() {
    let (mut world, mut alice, _bob, members) = alice_and_bob();
    let settings = RoomKeySettings {
        rotation: Rotation::new(3_600_000, 2),
        ..RoomKeySettings::default()
    };
    let mut sessions = Vec::new();
    for _ in 0..3 {
        world.share(&mut alice, &members, &settings).unwrap();
        let event = world.send_only(&mut alice, &text("x"), EncryptOptions::default());
        sessions.push(event["content"]["session_id"].clone());
    }
    assert_eq!(sessions[0], sessions[1]);
    assert_ne!(sessions[1], sessions[2]);
    world.now_ms += 3_600_000;
    let refused = alice.machine.encrypt_room_event(
        &room(),
        "m.room.message",
        &text("x"),
        EncryptOptions::default(),
        world.now_ms,
    );
    assert!(matches!(refused, Err(EncryptError::RoomKeyNotShared)));
}

#[test]
fn whoever_leaves_reads_nothing_that_follows() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let mut carol = world.client("carol", "CAROL1");
    let all = [members[0].clone(), members[1].clone(), carol.user_id()];
    let before = world.send(&mut alice, &all, "before", EncryptOptions::default());
    world.sync(&mut carol);
    assert_eq!(carol.body(&before, world.now_ms).unwrap(), "before");
    let after = world.send(&mut alice, &members, "after", EncryptOptions::default());
    world.sync(&mut carol);
    world.sync(&mut bob);
    assert!(matches!(
        carol.body(&after, world.now_ms),
        Err(Undecryptable::MissingRoomKey { .. })
    ));
    assert_eq!(bob.body(&after, world.now_ms).unwrap(), "after");
    // Someone who left and came back between two messages also makes a new session necessary.
    let staged = alice
        .machine
        .room_member_left(&room(), &bob.user_id())
        .unwrap();
    alice.keep(staged);
    let later = world.send(&mut alice, &members, "later", EncryptOptions::default());
    assert_ne!(
        later["content"]["session_id"],
        after["content"]["session_id"]
    );
}

#[test]
fn a_device_that_logs_out_reads_nothing_that_follows() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    let bob2 = world.client("bob", "BOB2");
    let one = world.send(&mut alice, &members, "one", EncryptOptions::default());
    world
        .devices
        .remove(&(bob2.user_id(), bob2.machine.device_id().to_owned()));
    world.changes.push(bob.user_id());
    world.sync(&mut alice);
    let two = world.send(&mut alice, &members, "two", EncryptOptions::default());
    assert_ne!(one["content"]["session_id"], two["content"]["session_id"]);
}

#[test]
fn a_new_device_reads_what_follows_and_not_what_was() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.publish_cross_signing(&mut bob);
    let one = world.send(&mut alice, &members, "one", EncryptOptions::default());
    let mut bob2 = world.client("bob", "BOB2");
    world.sync(&mut bob);
    let staged = bob
        .machine
        .sign_own_device("BOB2".into(), &bob2.machine.fingerprint());
    bob.keep(staged.unwrap());
    world.pump(&mut bob);
    world.sync(&mut alice);
    let two = world.send(&mut alice, &members, "two", EncryptOptions::default());
    world.sync(&mut bob2);
    assert_eq!(one["content"]["session_id"], two["content"]["session_id"]);
    assert_eq!(
        bob2.body(&one, world.now_ms),
        Err(Undecryptable::IndexTooOld {
            index: 0,
            first_index: 1
        })
    );
    assert_eq!(bob2.body(&two, world.now_ms).unwrap(), "two");
    let told = alice.notices.iter().any(
        |notice| matches!(notice, Notice::NewDevice { user_id, .. } if *user_id == bob.user_id()),
    );
    assert!(told);
}

#[test]
fn a_change_while_a_query_is_under_way_is_not_lost() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    let staged = alice.machine.update_tracked_users(&members).unwrap();
    alice.keep(staged);
    let requests = alice.machine.outgoing_requests(world.now_ms).unwrap();
    let [request] = &requests[..] else {
        panic!("one query")
    };
    let OutgoingBody::KeysQuery(query) = &request.body else {
        panic!("one query")
    };
    let old_answer = world.query(query);
    // Bob logs in elsewhere; Alice is told before the answer arrives.
    world.client("bob", "BOB2");
    let mut lists = ruma::api::client::sync::sync_events::DeviceLists::new();
    lists.changed = vec![bob.user_id()];
    let sync = crate::crypto::SyncChanges {
        device_lists: lists,
        ..Default::default()
    };
    let staged = alice
        .machine
        .receive_sync_changes(sync, world.now_ms)
        .unwrap();
    alice.keep(staged);
    // One query at a time for each user.
    let due = alice.machine.outgoing_requests(world.now_ms).unwrap();
    assert!(
        !due.iter()
            .any(|request| matches!(request.body, OutgoingBody::KeysQuery(_)))
    );
    let staged = alice
        .machine
        .mark_request_as_sent(
            &request.id,
            IncomingResponse::KeysQuery(old_answer),
            world.now_ms,
        )
        .unwrap();
    alice.keep(staged);
    assert!(alice.machine.has_outdated_users(&[bob.user_id()]));
    world.pump(&mut alice);
    assert_eq!(alice.machine.devices(&bob.user_id()).len(), 2);
}

#[test]
fn a_server_that_cannot_be_reached_does_not_stop_the_others() {
    let (mut world, mut alice, mut bob, _) = alice_and_bob();
    let far: OwnedUserId = "@far:b.example".try_into().unwrap();
    world.unreachable.insert("b.example".to_owned());
    let members = [alice.user_id(), bob.user_id(), far.clone()];
    let event = world.send(&mut alice, &members, "hello", EncryptOptions::default());
    world.sync(&mut bob);
    assert_eq!(bob.body(&event, world.now_ms).unwrap(), "hello");
    assert!(alice.machine.has_outdated_users(&[far]));
}

#[test]
fn one_time_keys_are_replenished_and_an_interrupted_upload_is_repeated() {
    let (mut world, _alice, mut bob, _) = alice_and_bob();
    let full = world.device(&bob).one_time.len();
    world.device(&bob).one_time.clear();
    world.sync(&mut bob);
    assert_eq!(world.device(&bob).one_time.len(), full);
    // The upload is lost with the process; the same keys are offered again.
    let fresh =
        crate::crypto::OlmMachine::create(&user("dora"), "DORA1".into(), world.now_ms).unwrap();
    let (_, mut machine) = fresh.into_parts();
    let ids = |requests: Vec<crate::crypto::OutgoingRequest>| match requests
        .into_iter()
        .next()
        .map(|request| request.body)
    {
        Some(OutgoingBody::KeysUpload(upload)) => {
            upload.one_time_keys.into_keys().collect::<Vec<_>>()
        }
        _ => panic!("an upload"),
    };
    let requests = machine.outgoing_requests(world.now_ms).unwrap();
    let id = requests[0].id.clone();
    let first = ids(requests);
    machine.request_failed(&id);
    assert_eq!(ids(machine.outgoing_requests(world.now_ms).unwrap()), first);
}

#[test]
fn a_used_or_old_fallback_key_is_replaced_but_not_faster_than_hourly() {
    let (mut world, _alice, mut bob, _) = alice_and_bob();
    let fallback =
        |world: &mut World, bob: &Client| world.device(bob).fallback.keys().next().unwrap().clone();
    let first = fallback(&mut world, &bob);
    world.device(&bob).fallback_used = true;
    world.now_ms += FALLBACK_KEY_MS_MIN - 1;
    world.sync(&mut bob);
    assert_eq!(fallback(&mut world, &bob), first);
    world.now_ms += 1;
    world.sync(&mut bob);
    let second = fallback(&mut world, &bob);
    assert_ne!(second, first);
    world.now_ms += FALLBACK_KEY_MS_MAX;
    world.sync(&mut bob);
    assert_ne!(fallback(&mut world, &bob), second);
}

#[test]
fn a_replaced_fallback_key_is_forgotten_though_messages_never_cease() {
    for (noise, kept_until_ms) in [(false, 0), (true, FALLBACK_KEY_GRACE_MS)] {
        let (mut world, _alice, mut bob, _) = alice_and_bob();
        world.now_ms += FALLBACK_KEY_MS_MAX;
        world.sync(&mut bob);
        let forget_at = bob.machine.account.forget_fallback_ms.unwrap();
        let mut sync_at = |now_ms| {
            world.now_ms = now_ms;
            if noise {
                let dummy = serde_json::json!({"type": "m.dummy", "sender": "@x:y", "content": {}});
                world.device(&bob).inbox.push(dummy);
            }
            world.sync(&mut bob);
            bob.machine.account.forget_fallback_ms.is_none()
        };
        assert!(!sync_at(forget_at + kept_until_ms - 1));
        assert!(sync_at(forget_at + kept_until_ms));
    }
}

#[test]
fn a_message_made_with_the_fallback_key_arrives() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.device(&bob).one_time.clear();
    let event = world.send(&mut alice, &members, "hello", EncryptOptions::default());
    assert!(world.device(&bob).fallback_used);
    world.sync(&mut bob);
    assert_eq!(bob.body(&event, world.now_ms).unwrap(), "hello");
}

#[test]
fn a_device_without_keys_is_told_that_there_is_no_session_and_served_later() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let keys = std::mem::take(&mut world.device(&bob).one_time);
    world.device(&bob).fallback.clear();
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    let inbox = &world.device(&bob).inbox;
    assert_eq!(inbox[0]["content"]["code"], "m.no_olm");
    assert_eq!(inbox.len(), 1);
    world.device(&bob).one_time = keys;
    world.now_ms += 10 * 60_000;
    let event = world.send(&mut alice, &members, "again", EncryptOptions::default());
    world.sync(&mut bob);
    assert_eq!(bob.body(&event, world.now_ms).unwrap(), "again");
}

#[test]
fn new_members_wait_for_consent_where_the_program_wants_it() {
    let (mut world, mut alice, _bob, members) = alice_and_bob();
    let carol = world.client("carol", "CAROL1");
    let settings = RoomKeySettings {
        members: MemberPolicy::Confirm,
        ..RoomKeySettings::default()
    };
    world.share(&mut alice, &members, &settings).unwrap();
    let all = [members[0].clone(), members[1].clone(), carol.user_id()];
    let refused = world.share(&mut alice, &all, &settings);
    assert!(matches!(refused, Err(ShareError::NewMembers { users }) if users == [carol.user_id()]));
    assert!(world.device(&carol).inbox.is_empty());
    let staged = alice
        .machine
        .accept_members(&room(), &[carol.user_id()])
        .unwrap();
    alice.keep(staged);
    world.share(&mut alice, &all, &settings).unwrap();
    assert_eq!(world.device(&carol).inbox.len(), 1);
}

#[test]
fn the_machine_never_prints_a_secret() {
    let (mut world, mut alice, _bob, members) = alice_and_bob();
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    let printed = format!("{:?} {:?}", alice.machine, alice.records());
    assert!(!printed.contains("pickle") && !printed.contains("signing_key"));
    assert!(printed.contains("SecretBytes("));
}

#[test]
fn trust_of_a_device_seen_once_is_first_use_and_of_our_own_verified() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let event = world.send(&mut alice, &members, "hello", EncryptOptions::default());
    world.sync(&mut bob);
    // Bob has not fetched Alice's devices: he cannot know whose key it is.
    assert_eq!(
        bob.decrypt(&event, world.now_ms).unwrap().trust,
        Trust::UnknownDevice
    );
    let staged = bob.machine.update_tracked_users(&members).unwrap();
    bob.keep(staged);
    world.pump(&mut bob);
    let decrypted = bob.decrypt(&event, world.now_ms).unwrap();
    assert_eq!(decrypted.trust, Trust::FirstUse);
    assert_eq!(decrypted.sender_device.unwrap(), "ALICE1");
    assert_eq!(
        alice.decrypt(&event, world.now_ms).unwrap().trust,
        Trust::Verified
    );
}
