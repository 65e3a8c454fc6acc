//! Whoever turns up later: devices, identities and members that a server may have invented.

use super::world::*;
use crate::crypto::{
    EncryptOptions, IdentityChange, MemberPolicy, Notice, OutgoingBody, OutgoingRequest,
    RoomKeySettings, ShareError, SharingPolicy, Trust,
    users::{DEVICES_PER_USER_MAX, DeviceRecord, PINS_PER_USER_MAX},
};

/// What a device was sent: the type of each event, and the code of each refusal.
fn got(world: &mut World, client: &Client) -> Vec<String> {
    let inbox = &world.device(client).inbox;
    let name = |event: &serde_json::Value| {
        let code = event["content"]["code"].as_str();
        code.or(event["type"].as_str()).unwrap().to_owned()
    };
    inbox.iter().map(name).collect()
}

#[test]
fn a_device_that_turns_up_later_gets_no_key_and_is_hidden_until_it_is_verified() {
    for (devices, given) in [
        (SharingPolicy::CrossSignedWherePossible, "m.unverified"),
        (SharingPolicy::AllDevices, "m.room.encrypted"),
    ] {
        // Of somebody else, and of our own user.
        for owner in ["bob", "alice"] {
            let (mut world, mut alice, _bob, members) = alice_and_bob();
            let settings = RoomKeySettings {
                devices,
                ..RoomKeySettings::default()
            };
            world.share(&mut alice, &members, &settings).unwrap();
            let ghost = world.client(owner, "GHOST1");
            world.sync(&mut alice);
            world.share(&mut alice, &members, &settings).unwrap();
            assert_eq!(got(&mut world, &ghost), [given]);
            let trust = |alice: &Client| {
                let mut all = alice.machine.devices(&user(owner)).into_iter();
                all.find(|device| device.device_id == "GHOST1")
                    .unwrap()
                    .trust
            };
            assert_eq!(trust(&alice), Trust::NewDevice);
            assert!(trust(&alice).should_hide());
            alice.restart();
            let staged = alice.machine.verify_device(
                &user(owner),
                "GHOST1".into(),
                &ghost.machine.fingerprint(),
            );
            alice.keep(staged.unwrap());
            assert_eq!(trust(&alice), Trust::Verified);
            world.share(&mut alice, &members, &settings).unwrap();
            assert_eq!(
                got(&mut world, &ghost).last().map(String::as_str),
                Some("m.room.encrypted")
            );
        }
    }
}

#[test]
fn an_identity_that_no_known_device_vouches_for_blocks_and_a_vouched_one_does_not() {
    for (forged, refused) in [(true, true), (false, false)] {
        let (mut world, mut alice, mut bob, members) = alice_and_bob();
        world.send(&mut alice, &members, "hello", EncryptOptions::default());
        if forged {
            // The server's own device, under Bob's name, makes an identity and signs itself.
            let mut ghost = world.client("bob", "GHOST1");
            world.publish_cross_signing(&mut ghost);
        } else {
            world.publish_cross_signing(&mut bob);
        }
        world.sync(&mut alice);
        let shared = world.share(&mut alice, &members, &RoomKeySettings::default());
        assert_eq!(
            matches!(shared, Err(ShareError::IdentityChanged { .. })),
            refused
        );
        let changes = alice.machine.identity_changes();
        assert_eq!(
            matches!(&changes[..], [IdentityChange::MasterKey { .. }]),
            refused
        );
    }
}

#[test]
fn signatures_of_a_replaced_identity_count_for_nothing_until_the_list_is_fetched() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    world.publish_cross_signing(&mut bob);
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    let mut fresh = world.client("bob", "BOB2");
    world.reset_cross_signing(&mut fresh);
    world.sync(&mut alice);
    let staged = alice.machine.accept_identity_change(&bob.user_id());
    alice.keep(staged.unwrap());
    // The server keeps the list back: it says that Bob's server does not answer.
    world.unreachable.insert("a.example".to_owned());
    world.device(&bob).inbox.clear();
    world
        .share(&mut alice, &members, &RoomKeySettings::default())
        .unwrap();
    assert_eq!(got(&mut world, &bob), ["m.unverified"]);
}

#[test]
fn invented_devices_do_not_wash_out_a_pin() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    world.send(&mut alice, &members, "hello", EncryptOptions::default());
    let known = alice.machine.users.get_mut(&bob.user_id()).unwrap();
    let pin = known.devices.values().next().unwrap().clone();
    for number in 0..PINS_PER_USER_MAX - 1 {
        let device = DeviceRecord {
            late: number >= DEVICES_PER_USER_MAX,
            ..pin.clone()
        };
        known
            .vanished
            .insert(format!("GHOST{number}").into(), device);
    }
    // Bob's device is withdrawn while others come, and listed again with other keys.
    let name = (bob.user_id(), "BOB1".into());
    world.devices.remove(&name).unwrap();
    for number in 0..3 {
        world.client("bob", &format!("NEW{number}"));
    }
    world.sync(&mut alice);
    assert_eq!(alice.machine.devices(&bob.user_id()).len(), 3);
    world.client("bob", "BOB1");
    world.sync(&mut alice);
    assert!(matches!(
        &alice.machine.identity_changes()[..],
        [IdentityChange::DeviceKeys { .. }]
    ));
    // When every pin means something, it is the new device that has to go.
    let known = alice.machine.users.get_mut(&bob.user_id()).unwrap();
    for device in known.vanished.values_mut() {
        device.late = false;
    }
    alice.notices.clear();
    world.client("bob", "NEW9");
    world.sync(&mut alice);
    assert!(alice.notices.contains(&Notice::DeviceRefused {
        user_id: bob.user_id(),
        device_id: "NEW9".into(),
    }));
}

#[test]
fn who_was_not_accepted_waits_while_the_others_talk() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    let carol = world.client("carol", "CAROL1");
    let all = [members[0].clone(), members[1].clone(), carol.user_id()];
    let settings = RoomKeySettings::default();
    assert_eq!(settings.members, MemberPolicy::AcceptedOnly);
    world.share(&mut alice, &members, &settings).unwrap();
    let waits = Notice::MemberWaits {
        room_id: room(),
        user_id: carol.user_id(),
    };
    let mut told = 0;
    for _ in 0..3 {
        let staged = alice.machine.note_members(&room(), &all).unwrap();
        let notices = alice.keep(staged);
        told += notices.iter().filter(|notice| **notice == waits).count();
        world.share(&mut alice, &all, &settings).unwrap();
        alice.restart();
    }
    assert_eq!(told, 1);
    assert!(!alice.notices.contains(&waits));
    assert_eq!(got(&mut world, &carol), ["m.unauthorised"]);
    assert_eq!(got(&mut world, &bob), ["m.room.encrypted"]);
    let staged = alice
        .machine
        .accept_members(&room(), &[carol.user_id()])
        .unwrap();
    alice.keep(staged);
    world.share(&mut alice, &all, &settings).unwrap();
    assert_eq!(
        got(&mut world, &carol),
        ["m.unauthorised", "m.room.encrypted"]
    );
    // Who leaves and comes back is a stranger, and the key is replaced.
    let session = |alice: &Client| {
        let mut sessions = alice.machine.outbound.values();
        sessions.next().unwrap().session.session_id()
    };
    let before = session(&alice);
    world.device(&carol).inbox.clear();
    for present in [&members[..], &all[..]] {
        let staged = alice.machine.note_members(&room(), present).unwrap();
        alice.keep(staged);
    }
    world.share(&mut alice, &all, &settings).unwrap();
    assert_ne!(session(&alice), before);
    assert_eq!(got(&mut world, &carol), ["m.unauthorised"]);
}

#[test]
fn members_who_are_named_before_the_first_key_are_the_only_ones() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    let ghost = world.client("ghost", "GHOST1");
    let staged = alice
        .machine
        .accept_members(&room(), &[bob.user_id()])
        .unwrap();
    alice.keep(staged);
    let all = [members[0].clone(), members[1].clone(), ghost.user_id()];
    world
        .share(&mut alice, &all, &RoomKeySettings::default())
        .unwrap();
    assert_eq!(got(&mut world, &ghost), ["m.unauthorised"]);
    assert_eq!(got(&mut world, &bob), ["m.room.encrypted"]);
}

#[test]
fn a_ghost_who_is_there_before_the_first_key_gets_it_unless_the_members_are_named() {
    for named in [false, true] {
        let (mut world, mut alice, bob, members) = alice_and_bob();
        let ghost = world.client("ghost", "GHOST1");
        let all = [&members[..], &[ghost.user_id()]].concat();
        let settings = RoomKeySettings::default();
        assert_eq!(settings.members, MemberPolicy::AcceptedOnly);
        if named {
            let staged = alice.machine.accept_members(&room(), &members).unwrap();
            alice.keep(staged);
        }
        world.share(&mut alice, &all, &settings).unwrap();
        let got_key = |world: &mut World, client: &Client| {
            let mut inbox = world.device(client).inbox.iter();
            inbox.any(|event| event["type"] == "m.room.encrypted")
        };
        assert!(got_key(&mut world, &bob));
        assert_eq!(got_key(&mut world, &ghost), !named);
        // What a program can show before the first message, and ask about.
        assert_eq!(alice.machine.is_accepted(&room(), &user("ghost")), !named);
    }
}

/// Says of the requests that match that the server refuses them for good, and answers the others; gives how many there were.
fn refuse(
    world: &mut World,
    client: &mut Client,
    refused: impl Fn(&OutgoingRequest) -> bool,
) -> usize {
    let requests = client.machine.outgoing_requests(world.now_ms).unwrap();
    let count = requests.len();
    for request in requests {
        if refused(&request) {
            let staged = client
                .machine
                .request_refused(&request.id, world.now_ms)
                .unwrap();
            let notices = client.keep(staged);
            client.notices.extend(notices);
        } else {
            world.answer(client, request);
        }
    }
    count
}

fn names(request: &OutgoingRequest, name: &str) -> bool {
    format!("{request:?}").contains(name)
}

#[test]
fn a_device_that_the_server_refuses_stops_no_other() {
    let (mut world, mut alice, bob, _) = alice_and_bob();
    let (bad, carol) = (world.client("bad", "BAD1"), world.client("carol", "CAROL1"));
    let members = [
        alice.user_id(),
        bob.user_id(),
        bad.user_id(),
        carol.user_id(),
    ];
    let staged = alice.machine.update_tracked_users(&members).unwrap();
    alice.keep(staged);
    world.pump(&mut alice);
    // A claim is taken apart: one by one, and the bad one is left out.
    for _ in 0..4 {
        let Some(claim) = alice.machine.get_missing_sessions(&members, world.now_ms) else {
            break;
        };
        if names(&claim, "CAROL1") {
            let staged = alice.machine.request_refused(&claim.id, world.now_ms);
            alice.keep(staged.unwrap());
        } else {
            world.answer(&mut alice, claim);
        }
    }
    assert!(
        alice
            .machine
            .get_missing_sessions(&members, world.now_ms)
            .is_none()
    );
    let settings = RoomKeySettings::default();
    let staged = alice
        .machine
        .share_room_key(&room(), &members, &settings, world.now_ms)
        .unwrap();
    alice.keep(staged);
    assert!(alice.machine.is_room_key_under_way(&room(), None));
    let to_bad = |request: &OutgoingRequest| {
        matches!(request.body, OutgoingBody::ToDevice(_)) && names(request, "BAD1")
    };
    // Keys for two devices and a notice for a third; then two single messages; then nothing.
    for expected in [2, 2, 0] {
        alice.restart();
        assert_eq!(refuse(&mut world, &mut alice, to_bad), expected);
    }
    assert!(!alice.machine.is_room_key_under_way(&room(), None));
    assert_eq!(got(&mut world, &bob), ["m.room.encrypted"]);
    assert_eq!(got(&mut world, &carol), ["m.no_olm"]);
    assert!(got(&mut world, &bad).is_empty());
    assert!(alice.notices.contains(&Notice::ToDeviceRefused {
        user_id: bad.user_id(),
        device_id: "BAD1".into(),
    }));
}

#[test]
fn a_user_whom_the_server_refuses_to_look_up_stops_no_other() {
    let (mut world, mut alice, bob, members) = alice_and_bob();
    let all = [members[0].clone(), members[1].clone(), user("bad")];
    let staged = alice.machine.update_tracked_users(&all).unwrap();
    alice.keep(staged);
    let bad = |request: &OutgoingRequest| names(request, "@bad:");
    let mut rounds = 0;
    while refuse(&mut world, &mut alice, bad) > 0 {
        rounds += 1;
        assert!(rounds < 5, "requests without end");
    }
    assert!(!alice.machine.has_outdated_users(&members));
    world
        .share(&mut alice, &all, &RoomKeySettings::default())
        .unwrap();
    assert_eq!(got(&mut world, &bob), ["m.room.encrypted"]);
}
