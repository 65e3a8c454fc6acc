//! Feeds: what they name, and what they leave to the database.

use ruma::{room_id, user_id};

use super::*;
use crate::store::Scope;

fn row(position: i64, scope: Scope<'_>, kind: LogKind, reference: &str) -> LogRow {
    LogRow {
        position,
        scope: scope.to_string(),
        kind,
        reference: Some(reference.to_owned()),
    }
}

fn commit(feeds: &Feeds, rows: Vec<LogRow>) {
    let head = rows.last().unwrap().position;
    feeds.enter(&Published { rows, head });
}

fn event(feeds: &Feeds, position: i64, room: &RoomId) {
    let row = row(
        position,
        Scope::Room(room),
        LogKind::Event,
        &format!("${position}"),
    );
    commit(feeds, vec![row]);
}

#[tokio::test]
async fn a_feed_names_what_changed_above_its_floor() {
    let feeds = Feeds::new(10);
    let (room, other) = (room_id!("!a:x.org"), room_id!("!b:x.org"));
    let (feed, complete) = feeds.open(user_id!("@alice:x.org"), Duration::ZERO);
    assert!(!complete);
    assert_eq!(feeds.changed(&feed, 10, 10), None);
    feeds.complete(&feed, [room]);
    assert_eq!(feeds.changed(&feed, 9, 10), None);
    assert_eq!(feeds.changed(&feed, 10, 10), Some(Changed::default()));

    let woken = feed.woken();
    event(&feeds, 11, other);
    event(&feeds, 12, room);
    woken.await;
    let changed = feeds.changed(&feed, 10, 12).unwrap();
    assert_eq!(changed.rooms, HashSet::from([room.to_owned()]));
    assert!(!changed.own);
    assert_eq!(feeds.changed(&feed, 12, 12), Some(Changed::default()));
}

#[tokio::test]
async fn a_room_joined_in_a_commit_is_followed_from_its_first_row() {
    let feeds = Feeds::new(0);
    let (room, alice) = (room_id!("!a:x.org"), user_id!("@alice:x.org"));
    let (feed, _) = feeds.open(alice, Duration::ZERO);
    feeds.complete(&feed, []);
    let joined = row(2, Scope::User(alice), LogKind::Membership, room.as_str());
    commit(
        &feeds,
        vec![row(1, Scope::Room(room), LogKind::OwedEvent, "$1"), joined],
    );
    let changed = feeds.changed(&feed, 0, 2).unwrap();
    assert!(changed.own && changed.rooms.contains(room));
    assert_eq!(feeds.room_rows(room, 0, 2).unwrap().len(), 1);
    feeds.unfollow(&feed, room, 2);
    assert_eq!(feeds.room_rows(room, 0, 2), None);
}

#[test]
fn what_is_forgotten_lies_below_the_floor() {
    let feeds = Feeds::new(0);
    let rooms = [room_id!("!a:x.org"), room_id!("!b:x.org")];
    let (feed, _) = feeds.open(user_id!("@alice:x.org"), Duration::ZERO);
    feeds.complete(&feed, rooms);
    let last = 2 * CHANGES_MAX as i64;
    for position in 1..=last {
        event(&feeds, position, rooms[usize::from(position % 2 == 0)]);
    }
    assert_eq!(
        feeds.changed(&feed, last - CHANGES_MAX as i64 - 1, last),
        None
    );
    assert_eq!(
        feeds
            .changed(&feed, last - CHANGES_MAX as i64, last)
            .unwrap()
            .rooms
            .len(),
        2
    );
    assert_eq!(feeds.room_rows(rooms[0], 0, last), None);
    let rows = feeds.room_rows(rooms[0], last - 10, last - 2).unwrap();
    let positions: Vec<i64> = rows.iter().map(|row| row.position).collect();
    assert_eq!(positions, [last - 9, last - 7, last - 5, last - 3]);
    assert_eq!(feeds.newest_rows(rooms[0], last, ROOM_ROWS_MAX + 1), None);
    assert_eq!(feeds.newest_rows(rooms[0], last, 3).unwrap().0.len(), 3);
}

#[test]
fn rows_that_were_read_join_those_that_were_heard() {
    let feeds = Feeds::new(50);
    let room = room_id!("!a:x.org");
    let (feed, _) = feeds.open(user_id!("@alice:x.org"), Duration::ZERO);
    feeds.complete(&feed, [room]);
    event(&feeds, 51, room);
    let read: Vec<RoomLogRow> = [20, 30, 40, 51]
        .map(|position| {
            let row = row(
                position,
                Scope::Room(room),
                LogKind::Event,
                &format!("${position}"),
            );
            RoomLogRow::from(&row)
        })
        .into();
    feeds.learn_rows(room, &read, 15, 51);
    let known = feeds.room_rows(room, 15, 51).unwrap();
    assert_eq!(known, read);
    assert_eq!(feeds.room_rows(room, 14, 51), None);
    // Only events were read; receipts are heard of since the room is followed.
    assert!(!feeds.hears_all(room, 15));
    assert!(feeds.hears_all(room, 50));
}

#[tokio::test]
async fn changed_keys_are_remembered_for_everybody() {
    let feeds = Feeds::new(5);
    let bob = user_id!("@bob:x.org");
    commit(
        &feeds,
        vec![row(6, Scope::Keys(bob), LogKind::DeviceList, "DEVICE")],
    );
    assert_eq!(feeds.keys_changed_since(4, 6), None);
    assert_eq!(
        feeds.keys_changed_since(5, 6),
        Some(HashSet::from([bob.to_owned()]))
    );
    assert_eq!(feeds.keys_changed_since(6, 6), Some(HashSet::new()));
    assert_eq!(feeds.next_keys().await.0, [bob]);
}

#[tokio::test]
async fn a_join_during_a_look_keeps_the_room_followed() {
    let feeds = Feeds::new(0);
    let (room, bob) = (room_id!("!a:x.org"), user_id!("@bob:x.org"));
    let (feed, _) = feeds.open(bob, Duration::ZERO);
    feeds.complete(&feed, []);
    let membership = |position| {
        row(
            position,
            Scope::User(bob),
            LogKind::Membership,
            room.as_str(),
        )
    };
    commit(&feeds, vec![membership(1)]);
    // The look began at 1, where the user was invited; the join comes before it unfollows.
    commit(&feeds, vec![membership(2)]);
    feeds.unfollow(&feed, room, 1);
    event(&feeds, 3, room);
    let changed = feeds.changed(&feed, 2, 3).unwrap();
    assert_eq!(changed.rooms, HashSet::from([room.to_owned()]));
    // A look that has seen all of it may unfollow.
    feeds.unfollow(&feed, room, 3);
    event(&feeds, 4, room);
    assert_eq!(feeds.changed(&feed, 3, 4), Some(Changed::default()));
}
