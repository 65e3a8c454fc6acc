//! How far the wall clock is believed.
//!
//! A clock that is set back is harmless: what has expired stays so (the crypto machine keeps the latest time it ever saw). A clock
//! that jumps forward would have keys destroyed whose messages should live on, and destroying cannot be undone.
//!
//! Invariant: a jump forward of more than [`JUMP_MS_MAX`] against the clock that nobody can set hides what it makes expire at once, and
//! destroys nothing, until a server's timestamp agrees with it or it has lasted for [`DOUBT_MS_MAX`]. A server alone can neither make
//! a jump nor have one believed that this machine's clock does not show.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Clock;

/// A larger jump is not believed at once, in milliseconds: ten minutes.
pub(crate) const JUMP_MS_MAX: u64 = 10 * 60 * 1000;

/// After this time a jump is believed even if no server has confirmed it, in milliseconds: a day.
const DOUBT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// A moment at which the wall clock was believed.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    wall_ms: u64,
    monotonic_ms: u64,
    /// When, by the monotonic clock, a jump was first seen that is not believed.
    doubted_since_ms: Option<u64>,
}

/// Tells the time as far as it is believed.
#[derive(Debug)]
pub(crate) struct Timekeeper {
    clock: Arc<dyn Clock>,
    anchor: Mutex<Option<Anchor>>,
}

/// What the clocks show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The time by which things are destroyed.
    pub(crate) believed_ms: u64,
    /// Whether the wall clock has jumped just now.
    pub(crate) jumped: bool,
}

impl Timekeeper {
    pub(crate) const fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            anchor: Mutex::new(None),
        }
    }

    /// The wall clock, believed or not: what has expired by it is not shown.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Reads the clocks.
    pub(crate) fn read(&self) -> Reading {
        let (wall_ms, monotonic_ms) = (self.clock.now_ms(), self.clock.monotonic_ms());
        let mut slot = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Anchor {
            wall_ms,
            monotonic_ms,
            doubted_since_ms: None,
        };
        // The first reading has nothing to be held against: a client may have been away for any time.
        let anchor = slot.get_or_insert(fresh);
        let passed_ms = monotonic_ms.saturating_sub(anchor.monotonic_ms);
        let expected_ms = anchor.wall_ms.saturating_add(passed_ms);
        if wall_ms <= expected_ms.saturating_add(JUMP_MS_MAX) {
            anchor.doubted_since_ms = None;
            return Reading {
                believed_ms: wall_ms,
                jumped: false,
            };
        }
        let jumped = anchor.doubted_since_ms.is_none();
        let since_ms = *anchor.doubted_since_ms.get_or_insert(monotonic_ms);
        if monotonic_ms.saturating_sub(since_ms) >= DOUBT_MS_MAX {
            *anchor = fresh;
            return Reading {
                believed_ms: wall_ms,
                jumped: false,
            };
        }
        Reading {
            believed_ms: expected_ms,
            jumped,
        }
    }

    /// Takes notice of when a server says that something was sent: a jump that agrees with it is believed.
    pub(crate) fn hear(&self, server_ms: u64) {
        let wall_ms = self.clock.now_ms();
        if server_ms.abs_diff(wall_ms) <= JUMP_MS_MAX {
            let anchor = Anchor {
                wall_ms,
                monotonic_ms: self.clock.monotonic_ms(),
                doubted_since_ms: None,
            };
            *self.anchor.lock().unwrap_or_else(PoisonError::into_inner) = Some(anchor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const HOUR_MS: u64 = 60 * 60 * 1000;

    fn keeper() -> (ManualClock, Timekeeper) {
        let clock = ManualClock::at(1_800_000_000_000);
        let keeper = Timekeeper::new(Arc::new(clock.clone()));
        keeper.read();
        (clock, keeper)
    }

    #[test]
    fn time_that_passes_is_believed() {
        let (clock, keeper) = keeper();
        clock.advance(30 * HOUR_MS);
        let reading = keeper.read();
        assert_eq!(
            (reading.believed_ms, reading.jumped),
            (clock.now_ms(), false)
        );
    }

    #[test]
    fn a_jump_is_told_once_and_believed_when_a_server_agrees() {
        let (clock, keeper) = keeper();
        let before_ms = clock.now_ms();
        clock.set(before_ms + 30 * HOUR_MS);
        assert_eq!(
            keeper.read(),
            Reading {
                believed_ms: before_ms,
                jumped: true
            }
        );
        clock.advance(HOUR_MS);
        assert_eq!(
            keeper.read(),
            Reading {
                believed_ms: before_ms + HOUR_MS,
                jumped: false
            }
        );
        // A server that lives in another time confirms nothing.
        keeper.hear(before_ms);
        keeper.hear(u64::MAX);
        assert_eq!(keeper.read().believed_ms, before_ms + HOUR_MS);
        keeper.hear(clock.now_ms() - 1000);
        assert_eq!(keeper.read().believed_ms, clock.now_ms());
    }

    #[test]
    fn a_jump_that_lasts_is_believed_and_one_that_is_taken_back_forgotten() {
        let (clock, keeper) = keeper();
        let before_ms = clock.now_ms();
        clock.set(before_ms + 30 * HOUR_MS);
        assert!(keeper.read().jumped);
        clock.set(before_ms);
        assert_eq!(keeper.read().believed_ms, before_ms);
        clock.set(before_ms + 30 * HOUR_MS);
        assert!(keeper.read().jumped);
        clock.advance(24 * HOUR_MS);
        assert_eq!(keeper.read().believed_ms, clock.now_ms());
    }

    #[test]
    fn a_clock_set_back_is_told_as_it_is() {
        let (clock, keeper) = keeper();
        clock.set(clock.now_ms() - HOUR_MS);
        assert_eq!(keeper.read().believed_ms, clock.now_ms());
    }
}
