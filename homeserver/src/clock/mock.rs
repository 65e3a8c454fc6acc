//! A clock that a test moves.
//!
//! Invariant: those whose time has come are woken in the order of their deadlines, and of their asking where these are the
//! same, so that what a test does does not depend on chance.
//!
//! No part of the specification.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{Clock, Sleep};

/// A clock that stands still until a test moves it. Clones show the same time.
#[derive(Debug, Clone)]
pub struct MockClock {
    times: Arc<Mutex<Times>>,
}

#[derive(Debug)]
struct Times {
    monotonic: Duration,
    /// Wall clock, in milliseconds since the Unix epoch.
    wall_ms: i64,
    /// Who waits: until when, and as which of all waits.
    sleepers: BTreeMap<(Duration, u64), Option<Waker>>,
    /// How many have waited so far.
    slept: u64,
}

impl MockClock {
    /// The wall time at which [`MockClock::default`] starts: 1 January 2030, 00:00 UTC.
    pub const START_MS: i64 = 1_893_456_000_000;

    /// A clock whose wall time is `wall_ms` and whose monotonic time is an hour, so that tests may look back.
    #[must_use]
    pub fn new(wall_ms: i64) -> Self {
        let times = Times {
            monotonic: Duration::from_secs(3600),
            wall_ms,
            sleepers: BTreeMap::new(),
            slept: 0,
        };
        Self {
            times: Arc::new(Mutex::new(times)),
        }
    }

    /// Moves both times forward and wakes whoever has waited long enough.
    pub fn advance(&self, by: Duration) {
        self.shift_wall(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        let mut times = self.times();
        times.monotonic = times.monotonic.saturating_add(by);
        let due = ..=(times.monotonic, u64::MAX);
        let due = times.sleepers.range_mut(due);
        let woken: Vec<Waker> = due.filter_map(|(_, waker)| waker.take()).collect();
        drop(times);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Moves the wall clock alone, as an operator or a time service does; nobody is woken.
    pub fn shift_wall(&self, by_ms: i64) {
        let mut times = self.times();
        times.wall_ms = times.wall_ms.saturating_add(by_ms);
    }

    /// How many waits are pending.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.times().sleepers.len()
    }

    /// Lets other tasks run until at least `count` waits are pending, so that a test advances time only once they are.
    pub async fn wait_for_sleepers(&self, count: usize) {
        while self.sleepers() < count {
            tokio::task::yield_now().await;
        }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MockClock {
    fn default() -> Self {
        Self::new(Self::START_MS)
    }
}

impl Clock for MockClock {
    fn now_ms(&self) -> i64 {
        self.times().wall_ms
    }

    fn monotonic(&self) -> Duration {
        self.times().monotonic
    }

    fn sleep_until(&self, deadline: Duration) -> Sleep {
        let mut times = self.times();
        let place = (deadline, times.slept);
        times.slept += 1;
        times.sleepers.insert(place, None);
        drop(times);
        Box::pin(Sleeper {
            clock: self.clone(),
            place,
        })
    }
}

/// One who waits.
struct Sleeper {
    clock: MockClock,
    place: (Duration, u64),
}

impl Future for Sleeper {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut times = self.clock.times();
        if times.monotonic >= self.place.0 {
            times.sleepers.remove(&self.place);
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        times.sleepers.insert(self.place, Some(waker));
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.clock.times().sleepers.remove(&self.place);
    }
}
