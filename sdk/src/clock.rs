//! Time and randomness as parameters.
//!
//! Invariant: nothing else in this crate asks the operating system for the time or for random
//! bytes that decide behaviour; whoever needs them is handed a [`Clock`] or a [`Rng`].

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

use ruma::{MilliSecondsSinceUnixEpoch, UInt};

/// Tells the wall-clock time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, by the wall clock.
    fn now_ms(&self) -> u64;

    /// The same instant as the specification's type.
    fn now(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(UInt::new_saturating(self.now_ms()))
    }
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the system for the time"
    )]
    fn now_ms(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            })
    }
}

/// A clock that moves only when it is told to; clones share one time.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that stands at `now_ms` milliseconds since the Unix epoch.
    #[must_use]
    pub fn at(now_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now_ms)))
    }

    /// Moves the clock on by `ms` milliseconds.
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Gives random bytes.
pub trait Rng: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);

    /// A random number, uniform over all of `u64`.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A fresh name for a transaction, unique for this device: 24 hexadecimal digits.
    fn name(&self) -> String {
        let mut bytes = [0; 12];
        self.fill(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The operating system's source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, bytes: &mut [u8]) {
        // The system's source fails only where it does not exist at all; asking again is the only
        // answer that can never hand out bytes that are not random.
        while getrandom::fill(bytes).is_err() {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_manual_clock_share_the_time() {
        let clock = ManualClock::at(5);
        let other = clock.clone();
        other.advance(7);
        assert_eq!(clock.now_ms(), 12);
        clock.set(1);
        assert_eq!(other.now(), MilliSecondsSinceUnixEpoch(UInt::from(1u32)));
    }

    #[test]
    fn names_differ_and_have_24_digits() {
        let (one, two) = (SystemRng.name(), SystemRng.name());
        assert_ne!(one, two);
        assert_eq!(one.len(), 24);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
