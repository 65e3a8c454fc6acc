//! A server that tells two members different things of a room, and what they hear of it from each other.

use ruma::OwnedUserId;

use super::world::*;
use crate::crypto::{
    EncryptOptions, MemberPolicy, Notice, RoomKeySettings, Table, VIEW_AGE_MS_MAX, VIEW_GRACE_MS,
};

/// Who gets keys at once, so that the ghost is given what it came for.
fn open() -> RoomKeySettings {
    RoomKeySettings {
        members: MemberPolicy::Open,
        ..RoomKeySettings::default()
    }
}

/// What a client finds out that is told of these members.
fn compare(world: &World, client: &mut Client, members: &[OwnedUserId]) -> Vec<Notice> {
    let staged = client
        .machine
        .compare_views(&room(), members, world.now_ms)
        .unwrap();
    client.keep(staged)
}

/// The same when a difference has lasted.
fn compare_later(world: &mut World, client: &mut Client, members: &[OwnedUserId]) -> Vec<Notice> {
    assert_eq!(compare(world, client, members), [], "not at once");
    world.now_ms += VIEW_GRACE_MS - 1;
    assert_eq!(compare(world, client, members), [], "not yet");
    world.now_ms += 1;
    client.restart();
    compare(world, client, members)
}

fn differs(members: bool) -> Notice {
    Notice::ViewDiffers {
        room_id: room(),
        user_id: user("alice"),
        members,
    }
}

/// Alice says something into the room whose members are these, as she is told; Bob is told of those, and reads it.
fn talk(
    world: &mut World,
    (alice, alices): (&mut Client, &[OwnedUserId]),
    (bob, bobs): (&mut Client, &[OwnedUserId]),
) {
    world.share(bob, bobs, &open()).unwrap();
    world.share(alice, alices, &open()).unwrap();
    let event = world.send_only(alice, &text("secret"), EncryptOptions::default());
    world.sync(bob);
    bob.decrypt(&event, world.now_ms).unwrap();
}

#[test]
fn a_ghost_who_is_shown_to_one_member_is_noticed_by_the_other_and_one_shown_to_both_is_not() {
    for shown_to_both in [false, true] {
        let (mut world, mut alice, mut bob, members) = alice_and_bob();
        let ghost = world.client("ghost", "GHOST1");
        let all = [members[0].clone(), members[1].clone(), ghost.user_id()];
        let bobs = if shown_to_both { &all[..] } else { &members };
        talk(&mut world, (&mut alice, &all), (&mut bob, bobs));
        // The attack: the ghost has the key.
        assert!(!world.device(&ghost).inbox.is_empty());
        let told = compare_later(&mut world, &mut bob, bobs);
        let expected: &[Notice] = if shown_to_both { &[] } else { &[differs(true)] };
        assert_eq!(told, expected);
        // Once, and nothing is left of it.
        assert_eq!(compare(&world, &mut bob, bobs), []);
        assert!(bob.machine.rooms_to_compare().is_empty());
    }
}

#[test]
fn a_device_that_is_listed_for_one_member_only_is_noticed() {
    for shown_to_both in [false, true] {
        let (mut world, mut alice, mut bob, _) = alice_and_bob();
        world.client("carol", "CAROL1");
        let all = [user("alice"), user("bob"), user("carol")];
        world.share(&mut bob, &all, &open()).unwrap();
        world.sync(&mut bob);
        let ghost = world.client("carol", "GHOST1");
        if !shown_to_both {
            // Bob hears nothing of it.
            world.changes.pop().unwrap();
            world.changes.push(user("nobody"));
        }
        talk(&mut world, (&mut alice, &all), (&mut bob, &all));
        assert!(!world.device(&ghost).inbox.is_empty());
        let told = compare_later(&mut world, &mut bob, &all);
        let expected: &[Notice] = if shown_to_both {
            &[]
        } else {
            &[differs(false)]
        };
        assert_eq!(told, expected);
    }
}

#[test]
fn whoever_is_behind_or_ahead_for_a_while_alarms_nobody() {
    let (mut world, mut alice, mut bob, members) = alice_and_bob();
    let carol = world.client("carol", "CAROL1");
    let all = [members[0].clone(), members[1].clone(), carol.user_id()];
    // Alice is behind: Bob was told so himself before.
    world.share(&mut bob, &members, &open()).unwrap();
    talk(&mut world, (&mut alice, &members), (&mut bob, &all));
    assert_eq!(compare_later(&mut world, &mut bob, &all), []);
    // Alice is ahead: Bob is told the same before the time is over.
    let dora = world.client("dora", "DORA1");
    let more = [&all[..], &[dora.user_id()]].concat();
    talk(&mut world, (&mut alice, &more), (&mut bob, &all));
    assert_eq!(compare(&world, &mut bob, &all), []);
    assert_eq!(bob.machine.rooms_to_compare(), [room()]);
    let tracked = bob.machine.update_tracked_users(&more).unwrap();
    bob.keep(tracked);
    // While a list is being fetched nothing is said.
    world.now_ms += VIEW_GRACE_MS;
    assert_eq!(compare(&world, &mut bob, &more), []);
    assert_eq!(bob.machine.rooms_to_compare(), [room()]);
    world.pump(&mut bob);
    assert_eq!(compare(&world, &mut bob, &more), []);
    assert!(bob.machine.rooms_to_compare().is_empty());
}

#[test]
fn what_was_said_long_ago_or_by_nobody_known_is_not_judged() {
    for (late_ms, judged) in [(VIEW_AGE_MS_MAX, true), (VIEW_AGE_MS_MAX + 1, false)] {
        let (mut world, mut alice, mut bob, members) = alice_and_bob();
        let ghost = world.client("ghost", "GHOST1");
        let all = [members[0].clone(), members[1].clone(), ghost.user_id()];
        world.share(&mut bob, &members, &open()).unwrap();
        world.share(&mut alice, &all, &open()).unwrap();
        let event = world.send_only(&mut alice, &text("secret"), EncryptOptions::default());
        world.sync(&mut bob);
        world.now_ms += late_ms;
        bob.decrypt(&event, world.now_ms).unwrap();
        assert_eq!(!bob.machine.rooms_to_compare().is_empty(), judged);
    }
    for known in [true, false] {
        let (mut world, mut alice, mut bob, members) = alice_and_bob();
        world.client("ghost", "GHOST1");
        let all = [&members[..], &[user("ghost")]].concat();
        let tracked = if known { &members[..] } else { &members[1..] };
        world.share(&mut bob, tracked, &open()).unwrap();
        world.share(&mut alice, &all, &open()).unwrap();
        let event = world.send_only(&mut alice, &text("secret"), EncryptOptions::default());
        world.sync(&mut bob);
        bob.decrypt(&event, world.now_ms).unwrap();
        assert_eq!(!bob.machine.rooms_to_compare().is_empty(), known);
    }
}

#[test]
fn it_is_said_once_for_each_change_and_what_is_kept_is_bounded() {
    let (mut world, mut alice, _bob, members) = alice_and_bob();
    let mut lengths = Vec::new();
    let mut said = |world: &mut World, alice: &mut Client, members: &[OwnedUserId]| {
        world.share(alice, members, &open()).unwrap();
        // Of a length that leaves no room for it within the first size that plaintexts are padded to.
        let body = text(&"x".repeat(100));
        let event = world.send_only(alice, &body, EncryptOptions::default());
        let ciphertext = event["content"]["ciphertext"].as_str().unwrap();
        lengths.push(ciphertext.len() > 800);
        alice.restart();
    };
    said(&mut world, &mut alice, &members);
    said(&mut world, &mut alice, &members);
    world.client("carol", "CAROL1");
    let all = [&members[..], &[user("carol")]].concat();
    said(&mut world, &mut alice, &all);
    said(&mut world, &mut alice, &all);
    assert_eq!(lengths, [true, false, true, false]);
    // However often the server changes its mind.
    for number in 0..30 {
        world.client(&format!("user{number}"), "DEVICE");
        let all = [&members[..], &[user(&format!("user{number}"))]].concat();
        world.share(&mut alice, &all, &open()).unwrap();
    }
    let records = alice.records();
    let kept = records.iter().find(|record| record.table == Table::Room);
    let kept: serde_json::Value = serde_json::from_slice(kept.unwrap().value.expose()).unwrap();
    assert_eq!(kept["views"].as_array().unwrap().len(), 8);
}
