//! The purge, ended at every step that it takes.
//!
//! Invariant: wherever a process is killed in a pass, the next one shows nothing that has expired, and ends what was begun.

use std::{future::poll_fn, pin::pin, task::Poll};

use super::*;

/// More steps than a pass has.
const STEPS_MAX: usize = 1_000;

/// Carries out so many steps of something, and drops it in the middle; whether it came to its end before.
async fn cut_off(work: impl Future, steps: usize) -> bool {
    let mut work = pin!(work);
    let mut left = steps;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        work.as_mut().poll(context).map(|_| true)
    })
    .await
}

/// A world with messages that are past their deadline, cut off after so many steps of its purge; whether that had ended.
async fn ends_what_was_begun(mut world: World, steps: usize) -> bool {
    let room = world.room().await;
    let message = world.send(short(&room)).await;
    let reaction = json!({ "m.relates_to": {
        "rel_type": "m.annotation", "event_id": message, "key": "a telling key" } });
    let reaction = world.send(draft(&room, "m.reaction", reaction)).await;
    world.clock.advance(HOUR);
    let has_ended = cut_off(world.purge.pass(), steps).await;
    let mut world = world.kill().await;
    for id in [&message, &reaction] {
        assert!(!world.is_shown(id).await, "after {steps} steps");
    }
    world.pass().await;
    for id in [&message, &reaction] {
        assert!(!world.is_shown(id).await && !world.has_body(id).await);
    }
    let folder = world.folder.path();
    expect_in_files(folder, MARKER, false);
    expect_in_files(folder, "a telling key", false);
    let backlog = world.store().expiry_backlog(i64::MAX).await.unwrap();
    assert_eq!((backlog.events, backlog.oldest_ms), (0, None));
    has_ended
}

#[tokio::test]
async fn a_purge_that_is_cut_off_at_any_step_shows_nothing_and_ends() {
    let mut steps = 1;
    while !ends_what_was_begun(world().await, steps).await {
        steps += 1;
        assert!(steps < STEPS_MAX);
    }
    // It was really cut off: before the first commit, and after.
    assert!(steps > 3, "{steps} steps");
}

#[tokio::test]
async fn neither_does_one_that_destroys_keys() {
    let mut steps = 1;
    while !ends_what_was_begun(sealed_world().await, steps).await {
        steps += 1;
        assert!(steps < STEPS_MAX);
    }
    assert!(steps > 3, "{steps} steps");
}
