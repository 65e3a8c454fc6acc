//! The purge on a real database, whose files are read byte by byte.

use serde_json::json;

use super::*;
use crate::{
    clock::MockClock,
    rooms::{Draft, Transaction, projection},
    store::{Engine, NewEvent, RoomAppend, testing},
};

mod cut_off;
mod shredded;
mod world;

use world::*;

#[tokio::test]
async fn after_its_deadline_no_file_holds_a_message_or_what_relates_to_it() {
    let mut world = world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    let reaction = json!({ "m.relates_to": {
        "rel_type": "m.annotation", "event_id": message, "key": "a telling key" } });
    let reaction = world.send(draft(&room, "m.reaction", reaction)).await;
    let lasting = json!({ "body": "this one stays" });
    let lasting = world.send(draft(&room, "m.room.message", lasting)).await;
    let folder = world.folder.path().to_owned();

    world.pass().await;
    assert!(world.has_body(&message).await && world.is_shown(&message).await);
    expect_in_files(&folder, MARKER, true);
    expect_in_files(&folder, "a telling key", true);

    world.clock.advance(Duration::from_secs(30));
    assert!(!world.is_shown(&message).await && !world.is_shown(&reaction).await);
    world.pass().await;
    assert!(!world.has_body(&message).await && !world.has_body(&reaction).await);
    assert!(world.has_body(&lasting).await && world.is_shown(&lasting).await);
    expect_in_files(&folder, MARKER, false);
    expect_in_files(&folder, "a telling key", false);
    expect_in_files(&folder, "this one stays", true);
    // The tombstone stays, and nothing is left to be done.
    let event = world.event(&message).await;
    assert!(event.deadline.is_some() && event.destroy_at.is_none());
    let relations = world.store().relations(&message, None, 10).await.unwrap();
    assert!(relations.is_empty());
    let backlog = world.store().expiry_backlog(i64::MAX).await.unwrap();
    assert_eq!((backlog.events, backlog.oldest_ms), (0, None));
}

#[tokio::test]
async fn deleting_rows_alone_leaves_bytes_and_the_next_process_removes_them() {
    if testing::engine() != Engine::Sqlite {
        return; // This is about SQLite's write-ahead log.
    }
    let world = world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    world.clock.advance(Duration::from_secs(30));
    let destroy = DestroyExpired {
        now_ms: world.rooms.showing_ms(),
        limit: 10,
    };
    let destroyed = world.store().commit(destroy).await.unwrap().output;
    assert_eq!(destroyed.events, std::slice::from_ref(&message));
    // Without the checkpoint, the write-ahead log still has them: what the test looks for is there.
    assert_eq!(files_with(world.folder.path(), MARKER), ["passeur.db-wal"]);

    let mut world = world.kill().await;
    assert!(!world.is_shown(&message).await);
    world.pass().await;
    expect_in_files(world.folder.path(), MARKER, false);
}

#[tokio::test]
async fn a_process_that_begins_after_the_deadline_shows_nothing_and_purges() {
    let world = world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    world.clock.advance(HOUR);
    let mut world = world.kill().await;
    assert!(!world.is_shown(&message).await);
    assert!(world.has_body(&message).await);
    world.pass().await;
    assert!(!world.has_body(&message).await);
}

#[tokio::test]
async fn a_redaction_removes_the_bytes_too() {
    let mut world = world().await;
    let room = world.room().await;
    let content = json!({ "body": MARKER });
    let message = world.send(draft(&room, "m.room.message", content)).await;
    world.pass().await;
    let redaction = Draft {
        redacts: Some(message.clone()),
        ..draft(&room, "m.room.redaction", json!({}))
    };
    world.send(redaction).await;
    expect_in_files(world.folder.path(), MARKER, true);
    world.pass().await;
    expect_in_files(world.folder.path(), MARKER, false);
}

#[tokio::test]
async fn a_reader_holds_the_log_back_and_the_next_pass_empties_it() {
    if testing::engine() != Engine::Sqlite {
        return; // This is about SQLite's write-ahead log.
    }
    let mut world = world().await;
    let room = world.room().await;
    world.send(short(&room)).await;
    let reader = world.store().begin_reading().await;
    world.clock.advance(Duration::from_secs(30));
    world.pass().await;
    expect_in_files(world.folder.path(), MARKER, true);
    reader.rollback().await.unwrap();
    world.pass().await;
    expect_in_files(world.folder.path(), MARKER, false);
}

#[tokio::test]
async fn a_new_policy_hides_at_once_and_destroys_a_day_later() {
    let mut world = world().await;
    let room = world.room().await;
    let content = json!({ "body": MARKER });
    let message = world.send(draft(&room, "m.room.message", content)).await;
    let edit = json!({ "body": "edited", "m.relates_to": {
        "rel_type": "m.replace", "event_id": message } });
    world.clock.advance(HOUR + HOUR / 2);
    let edit = world.send(draft(&room, "m.room.message", edit)).await;
    world.pass().await;
    world.clock.advance(HOUR / 4);
    world.policy(&room, 3_600_000).await;
    world.pass().await;
    // The edit is not an hour old, but what it edits is.
    for id in [&message, &edit] {
        assert!(!world.is_shown(id).await && world.has_body(id).await);
    }
    let hidden_from = world.event(&message).await.deadline;

    // To allow more again gives nothing back.
    world.policy(&room, 7 * 24 * 3_600_000).await;
    world.pass().await;
    assert_eq!(world.event(&message).await.deadline, hidden_from);
    assert!(!world.is_shown(&message).await);
    assert_eq!(world.store().policy_changes(1).await.unwrap(), []);

    world.clock.advance(23 * HOUR);
    world.pass().await;
    assert!(world.has_body(&message).await);
    world.clock.advance(HOUR);
    world.pass().await;
    assert!(!world.has_body(&message).await && !world.has_body(&edit).await);
    expect_in_files(world.folder.path(), MARKER, false);
}

#[tokio::test]
async fn a_policy_that_was_not_followed_before_a_crash_is_followed_after_it() {
    let world = world().await;
    let room = world.room().await;
    let content = json!({ "body": MARKER });
    let message = world.send(draft(&room, "m.room.message", content)).await;
    world.clock.advance(2 * HOUR);
    world.policy(&room, 3_600_000).await;
    let mut world = world.kill().await;
    world.pass().await;
    assert!(!world.is_shown(&message).await);
}

#[tokio::test]
async fn a_room_that_cannot_follow_its_policy_keeps_nothing_of_others_alive() {
    let mut world = world().await;
    let broken = world.room().await;
    world.clock.advance(Duration::from_millis(1));
    let other = world.room().await;
    let full = world.event(&world.send(short(&broken)).await).await;
    let pdu = passeur_protocol::pdu::Pdu {
        event_id: "$broken".try_into().unwrap(),
        ..(*full.pdu).clone()
    };
    let append = RoomAppend {
        room_id: Some(broken.clone()),
        events: vec![NewEvent {
            event: Event {
                pdu: Arc::new(pdu),
                skeleton: b"no event".as_slice().into(),
                deadline: None,
                destroy_at: None,
                ..Event::clone(&full)
            },
            log: None,
            relation: None,
            promoted: false,
        }],
        ..RoomAppend::default()
    };
    world.store().commit(append).await.unwrap().output.unwrap();
    world.policy(&broken, 300_000).await;
    let due = world.send(short(&other)).await;
    let lasting = world
        .send(draft(&other, "m.room.message", json!({ "body": "x" })))
        .await;
    world.clock.advance(Duration::from_secs(30));
    world.policy(&other, 30_000).await;
    let passed = world.purge.pass().await.unwrap();
    assert_eq!((passed.batches, passed.is_done), (1, true));
    assert!(!world.has_body(&due).await && !world.is_shown(&lasting).await);
    // The broken one is not forgotten.
    let left = world.store().policy_changes(9).await.unwrap();
    assert_eq!(
        left.iter()
            .map(|change| &change.room_id)
            .collect::<Vec<_>>(),
        [&broken]
    );
}

#[tokio::test]
async fn a_clock_set_back_brings_nothing_back() {
    let mut world = world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    world.clock.advance(Duration::from_secs(30));
    assert!(!world.is_shown(&message).await);
    let before = world.rooms.showing_ms();
    world.clock.shift_wall(-86_400_000);
    assert!(!world.is_shown(&message).await);
    world.pass().await;
    let world = world.kill().await;
    assert!(world.rooms.showing_ms() >= before);
}

#[tokio::test]
async fn a_clock_set_forward_hides_but_destroys_nothing() {
    let mut world = world().await;
    let room = world.room().await;
    world.policy(&room, 3_600_000).await;
    let content = json!({ "body": MARKER });
    let message = world.send(draft(&room, "m.room.message", content)).await;
    world.pass().await;
    world.clock.shift_wall(30 * 86_400_000);
    assert!(!world.is_shown(&message).await);
    world.pass().await;
    assert!(world.has_body(&message).await);
    world.clock.advance(HOUR);
    world.pass().await;
    assert!(!world.has_body(&message).await);
}

#[tokio::test]
async fn what_is_dead_on_arrival_is_stored_as_a_stub() {
    let world = world().await;
    let room = world.room().await;
    let late = Draft {
        timestamp_ms: Some(MockClock::START_MS - 30_000),
        ..short(&room)
    };
    let message = world.send(late).await;
    assert!(!world.has_body(&message).await);
    assert!(world.event(&message).await.deadline.is_some());
    expect_in_files(world.folder.path(), MARKER, false);
}

#[tokio::test]
async fn a_dead_event_that_comes_again_stays_a_stub() {
    let mut world = world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    let full = world.event(&message).await;
    let sent = projection::federation_event(&full, MockClock::START_MS);
    assert!(String::from_utf8_lossy(&sent).contains(MARKER));
    world.clock.advance(Duration::from_secs(30));
    world.pass().await;

    let sent: Box<serde_json::value::RawValue> = serde_json::from_slice(&sent).unwrap();
    let origin = world.rooms.server_name();
    let again = world.rooms.receive(origin, &room, &sent).await.unwrap();
    assert_eq!(again, message);
    assert!(!world.has_body(&message).await);

    // Not as history or as an outlier either, even where nobody has looked before.
    let append = RoomAppend {
        room_id: Some(room.clone()),
        events: vec![NewEvent {
            event: Event::clone(&full),
            log: None,
            relation: None,
            promoted: false,
        }],
        ..RoomAppend::default()
    };
    let stored = world.store().commit(append).await.unwrap().output;
    assert_eq!(stored, Ok(vec![None]));
    assert!(!world.has_body(&message).await);
    world.pass().await;
    expect_in_files(world.folder.path(), MARKER, false);
}

#[tokio::test]
async fn a_redaction_in_the_same_transaction_finds_the_body() {
    let world = world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    let full = world.event(&message).await;
    let target: OwnedEventId = "$another".try_into().unwrap();
    let pdu = passeur_protocol::pdu::Pdu {
        event_id: target.clone(),
        ..(*full.pdu).clone()
    };
    let append = RoomAppend {
        room_id: Some(room.clone()),
        events: vec![NewEvent {
            event: Event {
                pdu: Arc::new(pdu),
                ..Event::clone(&full)
            },
            log: None,
            relation: None,
            promoted: false,
        }],
        redactions: vec![(target.clone(), message.clone())],
        ..RoomAppend::default()
    };
    world.store().commit(append).await.unwrap().output.unwrap();
    assert!(!world.has_body(&target).await);
    assert_eq!(world.event(&target).await.redacted_by, Some(message));
}

#[tokio::test]
async fn a_transaction_is_forgotten_a_month_after_it_was_made() {
    let mut world = world().await;
    let room = world.room().await;
    let (device_id, key) = ("A".to_owned(), "t1".to_owned());
    let mut repeated = draft(&room, "m.room.message", json!({ "body": "once" }));
    repeated.transaction = Some(Transaction { device_id, key });
    let first = world.send(repeated.clone()).await;
    world.clock.advance(29 * 24 * HOUR);
    world.pass().await;
    assert_eq!(world.send(repeated.clone()).await, first);
    world.clock.advance(2 * 24 * HOUR);
    world.pass().await;
    assert_ne!(world.send(repeated).await, first);
}
