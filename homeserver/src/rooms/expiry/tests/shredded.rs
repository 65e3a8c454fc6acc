//! What expires, under keys that die with it: what a backup has of it after its deadline.

use std::sync::atomic::Ordering;

use super::*;
use crate::store::testing::keys::{Rows, rows_of};

/// Longer than any step between the ends of buckets of this class.
const STEP: Duration = Duration::from_secs(3);

impl World {
    /// The rows of an event come back, as from a backup.
    async fn restore(&self, rows: &Rows) {
        self.store().commit(rows.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn with_a_key_store_no_file_ever_holds_a_message_that_expires() {
    let world = sealed_world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    let lasting = json!({ "body": "this one stays" });
    let lasting = world.send(draft(&room, "m.room.message", lasting)).await;
    let folder = world.folder.path().to_owned();
    expect_in_files(&folder, MARKER, false);
    expect_in_files(&folder, "this one stays", true);
    // It is read from the disk all the same, by the next process as well.
    assert!(world.has_body(&message).await && world.has_body(&lasting).await);
    let mut world = world.kill().await;
    assert!(world.has_body(&message).await && world.is_shown(&message).await);
    let content = world.event(&message).await;
    assert!(content.pdu.content.get().contains(MARKER));
    world.clock.advance(Duration::from_secs(30));
    world.pass().await;
    assert!(!world.has_body(&message).await && world.has_body(&lasting).await);
    expect_in_files(&folder, MARKER, false);
}

#[tokio::test]
async fn a_backup_from_before_the_deadline_is_unreadable_after_its_bucket() {
    let mut world = sealed_world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    let backup = rows_of(world.store(), &message).await;
    let stolen = Arc::new(world.keys().stolen());
    world.clock.advance(Duration::from_secs(30) + STEP);
    world.pass().await;
    world.restore(&backup).await;
    assert!(!world.has_body(&message).await);
    // Not by a clock that is set back either, over a restart.
    world.clock.shift_wall(-86_400_000);
    let world = world.kill().await;
    assert!(!world.has_body(&message).await && !world.is_shown(&message).await);
    // With the keys as they were before, the same rows are a message: it is the key that is missing.
    let world = world.kill_and_start_with(Some(stolen)).await;
    assert!(world.has_body(&message).await);
}

#[tokio::test]
async fn without_a_key_store_a_backup_keeps_what_it_has() {
    let mut world = world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    let backup = rows_of(world.store(), &message).await;
    world.clock.advance(Duration::from_secs(30) + STEP);
    world.pass().await;
    assert!(!world.has_body(&message).await);
    world.restore(&backup).await;
    assert!(world.has_body(&message).await);
}

#[tokio::test]
async fn a_redaction_takes_one_message_out_of_backups_and_no_other() {
    let world = sealed_world().await;
    let room = world.room().await;
    let (one, other) = (
        world.send(short(&room)).await,
        world.send(short(&room)).await,
    );
    let backup = rows_of(world.store(), &one).await;
    let redaction = Draft {
        redacts: Some(one.clone()),
        ..draft(&room, "m.room.redaction", json!({}))
    };
    world.send(redaction).await;
    world.restore(&backup).await;
    let world = world.kill().await;
    assert!(!world.has_body(&one).await && world.has_body(&other).await);
}

#[tokio::test]
async fn what_a_policy_shortened_leaves_backups_too() {
    let mut world = sealed_world().await;
    let room = world.room().await;
    world.policy(&room, 7 * 24 * 3_600_000).await;
    let message = world
        .send(draft(&room, "m.room.message", json!({ "body": MARKER })))
        .await;
    let backup = rows_of(world.store(), &message).await;
    let week = backup.body.sealed_until.unwrap();
    world.policy(&room, 3_600_000).await;
    world.pass().await;
    world.clock.advance(25 * HOUR);
    world.pass().await;
    assert!(world.rooms.showing_ms() < week);
    world.restore(&backup).await;
    assert!(!world.has_body(&message).await);
}

#[tokio::test]
async fn what_begins_to_expire_by_a_policy_is_sealed_then() {
    let mut world = sealed_world().await;
    let room = world.room().await;
    let message = world
        .send(draft(&room, "m.room.message", json!({ "body": MARKER })))
        .await;
    assert_eq!(
        rows_of(world.store(), &message).await.body.sealed_until,
        None
    );
    world.policy(&room, 24 * 3_600_000).await;
    world.pass().await;
    let sealed = rows_of(world.store(), &message).await;
    assert!(sealed.body.sealed_until.is_some() && sealed.body.body[0] != b'{');
    assert!(world.has_body(&message).await && world.is_shown(&message).await);
    world.clock.advance(26 * HOUR);
    world.pass().await;
    world.restore(&sealed).await;
    assert!(!world.has_body(&message).await);
}

#[tokio::test]
async fn nothing_is_acknowledged_before_its_key_is_on_disk() {
    let world = sealed_world().await;
    let room = world.room().await;
    let saves = || world.keys().saves.load(Ordering::SeqCst);
    let before = saves();
    world.send(short(&room)).await;
    world.send(short(&room)).await;
    assert_eq!(saves() - before, 1);
    world.keys().fails.store(true, Ordering::SeqCst);
    let lasting = draft(&room, "m.room.message", json!({ "body": "x" }));
    world.clock.advance(4 * STEP);
    assert!(world.rooms.send(short(&room)).await.is_err());
    world.keys().fails.store(false, Ordering::SeqCst);
    let message = world.send(short(&room)).await;
    world.send(lasting).await;
    let world = world.kill().await;
    assert!(world.has_body(&message).await);
}

#[tokio::test]
async fn a_purge_that_is_cut_off_between_keys_and_rows_shows_nothing_and_ends() {
    let mut world = sealed_world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    let rows = rows_of(world.store(), &message).await;
    world.clock.advance(Duration::from_secs(30) + STEP);
    world.pass().await;
    // The keys are destroyed before the commit: a crash between the two leaves the rows.
    world.restore(&rows).await;
    let mut world = world.kill().await;
    assert!(!world.is_shown(&message).await && !world.has_body(&message).await);
    world.pass().await;
    let left = world.store().expiry_backlog(i64::MAX).await.unwrap();
    assert_eq!(left.events, 0);
    // The other way round, the keys are not saved: nothing is deleted, and all of it is done again.
    let message = world.send(short(&room)).await;
    world.clock.advance(Duration::from_secs(30) + STEP);
    world.keys().fails.store(true, Ordering::SeqCst);
    assert!(world.purge.pass().await.is_err());
    assert!(!world.is_shown(&message).await);
    world.keys().fails.store(false, Ordering::SeqCst);
    world.pass().await;
    let left = world.store().expiry_backlog(i64::MAX).await.unwrap();
    assert_eq!((left.events, world.store().expiry_buckets()), (0, Some(0)));
}

#[tokio::test]
async fn what_a_restored_backup_does_not_know_comes_back_from_no_peer() {
    let mut world = sealed_world().await;
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    let backup = rows_of(world.store(), &message).await;
    let sent = projection::federation_event(&*world.event(&message).await, MockClock::START_MS);
    assert!(String::from_utf8_lossy(&sent).contains(MARKER));
    world.clock.advance(Duration::from_secs(30) + STEP);
    world.pass().await;
    world.restore(&backup).await;
    let sent: Box<serde_json::value::RawValue> = serde_json::from_slice(&sent).unwrap();
    let origin = world.rooms.server_name();
    let again = world.rooms.receive(origin, &room, &sent).await.unwrap();
    assert_eq!(again, message);
    world.pass().await;
    assert!(!world.has_body(&message).await && !world.is_shown(&message).await);
    expect_in_files(world.folder.path(), MARKER, false);
}

#[tokio::test]
async fn the_operator_sees_what_was_destroyed_and_the_lag() {
    let mut world = sealed_world().await;
    let room = world.room().await;
    world.send(short(&room)).await;
    world.pass().await;
    let meter = Arc::clone(world.store().expiry_meter());
    assert_eq!(
        (meter.destroyed(), meter.lag_ms(), meter.buckets()),
        (0, 0, 1)
    );
    world.clock.advance(Duration::from_secs(30) + STEP);
    if Engine::Sqlite == testing::engine() {
        let reader = world.store().begin_reading().await;
        world.clock.advance(Duration::from_secs(40));
        world.pass().await;
        assert_eq!((meter.destroyed(), meter.buckets()), (1, 0));
        assert_eq!(meter.lag_ms(), 43_000);
        reader.rollback().await.unwrap();
    }
    world.pass().await;
    assert_eq!((meter.destroyed(), meter.lag_ms()), (1, 0));
    assert_eq!(meter.passed_ms(), world.rooms.showing_ms());
}
