//! Time and randomness as parameters: the two traits that everything else asks, real and mock.
//!
//! Invariant: no other file of this crate reads a clock or the operating system's randomness, so a test that hands in
//! [`MockClock`] and [`SeededRng`] owns both. Wall time is for stamps that others see; monotonic time is for waiting.

use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ruma::{MilliSecondsSinceUnixEpoch, UInt};

pub use self::mock::MockClock;

mod mock;

/// Letters and digits, of which [`Rng::token`] is made: 62 of them, just under six bits each.
const TOKEN_ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A wait that any task may hold, since it borrows nothing from the clock.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + Sync + 'static>>;

/// The time of day, the time since start, and waiting.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Wall clock, in milliseconds since the Unix epoch. It may jump either way.
    fn now_ms(&self) -> i64;

    /// Time since an arbitrary start. It never goes back.
    fn monotonic(&self) -> Duration;

    /// Completes once [`Clock::monotonic`] has reached `deadline`; at once if it has already.
    fn sleep_until(&self, deadline: Duration) -> Sleep;

    /// Completes after `duration` of monotonic time.
    fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.monotonic().saturating_add(duration))
    }

    /// Wall clock as the specification's timestamps have it; a time before 1970 is 1970.
    fn timestamp(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(UInt::try_from(self.now_ms()).unwrap_or_default())
    }
}

/// The wait ended before the work did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("took too long")]
pub struct TimedOut;

/// Runs `work` for at most `limit` of the clock's monotonic time, and drops it then.
///
/// # Errors
/// [`TimedOut`] if the limit came first.
pub async fn within<T>(
    clock: &dyn Clock,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Result<T, TimedOut> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = clock.sleep(limit) => Err(TimedOut),
    }
}

/// Randomness fit for keys and tokens, except from [`SeededRng`].
pub trait Rng: Debug + Send + Sync + 'static {
    /// Fills the whole of `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// A uniformly random number.
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A string of `length` uniformly random letters and digits; 22 of them carry 131 bits.
    fn token(&self, length: usize) -> String {
        let mut token = String::with_capacity(length);
        let mut bytes = [0; 64];
        while token.len() < length {
            self.fill(&mut bytes);
            // The low six bits pick one of 64; the two that have no letter are drawn again, so that all are equally likely.
            let letters = bytes
                .iter()
                .filter_map(|byte| TOKEN_ALPHABET.get(usize::from(byte & 63)));
            token.extend(
                letters
                    .take(length - token.len())
                    .map(|&letter| char::from(letter)),
            );
        }
        token
    }
}

/// The machine's clocks, waiting on tokio's timer.
#[derive(Debug, Clone)]
pub struct SystemClock {
    /// The instant that [`Clock::monotonic`] counts from.
    started: Instant,
}

impl SystemClock {
    /// A clock that counts from now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the machine's clock"
    )]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep_until(&self, deadline: Duration) -> Sleep {
        // tokio caps what it cannot represent at about thirty years, which is as good as never.
        let wait = deadline.saturating_sub(self.monotonic());
        Box::pin(tokio::time::sleep(wait))
    }
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRng;

impl Rng for OsRng {
    /// Ends the process if the operating system has no randomness to give: a predictable key or token is worse than none.
    fn fill(&self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            tracing::error!(%error, "the operating system gives no randomness");
            std::process::abort();
        }
    }
}

/// Repeatable numbers for tests: the same seed gives the same sequence. Not secret at all.
#[derive(Debug)]
pub struct SeededRng {
    /// State of the generator (SplitMix64).
    state: AtomicU64,
}

impl SeededRng {
    /// A generator that starts from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
        }
    }
}

impl Rng for SeededRng {
    fn fill(&self, bytes: &mut [u8]) {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        for chunk in bytes.chunks_mut(8) {
            let mut mixed = self
                .state
                .fetch_add(STEP, Ordering::Relaxed)
                .wrapping_add(STEP);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let block = (mixed ^ (mixed >> 31)).to_le_bytes();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn advancing_wakes_only_those_whose_time_has_come() {
        let clock = MockClock::default();
        let soon = tokio::spawn(clock.sleep(Duration::from_secs(1)));
        let later = tokio::spawn(clock.sleep(Duration::from_secs(10)));
        clock.wait_for_sleepers(2).await;
        clock.advance(Duration::from_secs(1));
        soon.await.unwrap();
        assert!(!later.is_finished());
        assert_eq!(clock.now_ms(), MockClock::START_MS + 1000);
        clock.advance(Duration::from_secs(9));
        later.await.unwrap();
    }

    #[tokio::test]
    async fn shifting_the_wall_clock_wakes_nobody() {
        let clock = MockClock::default();
        let before = clock.monotonic();
        clock.shift_wall(-5000);
        assert_eq!(clock.now_ms(), MockClock::START_MS - 5000);
        assert_eq!(clock.monotonic(), before);
    }

    #[tokio::test]
    async fn within_gives_up_at_the_limit() {
        let clock = MockClock::default();
        let waiting = {
            let clock = clock.clone();
            tokio::spawn(async move {
                within(&clock, Duration::from_secs(3), std::future::pending::<()>()).await
            })
        };
        clock.wait_for_sleepers(1).await;
        clock.advance(Duration::from_secs(3));
        assert_eq!(waiting.await.unwrap(), Err(TimedOut));
        assert_eq!(
            within(&clock, Duration::from_secs(3), async { 7 }).await,
            Ok(7)
        );
    }

    #[test]
    fn a_seed_repeats_and_tokens_have_the_length_asked_for() {
        let (one, two) = (SeededRng::new(7), SeededRng::new(7));
        assert_eq!(one.next_u64(), two.next_u64());
        let token = one.token(200);
        assert_eq!(token, two.token(200));
        assert_eq!(token.len(), 200);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(OsRng.token(22), OsRng.token(22));
    }
}
