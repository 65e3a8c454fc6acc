//! How often requests may come: a bucket for each user or address, in each class of the configuration.
//!
//! Invariant: an address is held only as a hash whose key lives an hour; the number of buckets has a limit; 429 says when to come
//! again. Whoever shows a token is counted by the user it belongs to, which is known once it is checked; all others by address.
//! Specification: client-server API, "Rate limiting".

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, clock::Clock as GovernorClock, middleware::NoOpMiddleware,
    state::keyed::DashMapStateStore,
};
use http::StatusCode;
use ruma::{
    UserId,
    api::error::{ErrorKind, LimitExceededErrorData, RetryAfter},
};

use super::{error::ApiError, log::keyed_hash};
use crate::{
    clock::{Clock, Rng},
    config::{RateClass, RateLimit, RateLimitsConfig},
};

mod admit;
mod class;
#[cfg(test)]
mod tests;

pub use self::admit::{Admission, admit};

/// Most buckets of a class. When all are in use, strangers share [`SHARED_KEYS`] instead of getting their own.
const KEYS_MAX: usize = 100_000;

/// Buckets that are shared when there are too many.
const SHARED_KEYS: u128 = 1024;

/// How often full buckets, which say nothing, are thrown away.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// Checks between two looks at the number of buckets.
const CHECKS_PER_COUNT: u64 = 256;

/// How long the key under which addresses are hashed lives, in milliseconds.
const ADDRESS_KEY_MS: i64 = 3_600_000;

/// All limits. Cheap to check, safe to share.
#[derive(Debug)]
pub struct RateLimiter {
    /// The classes, or nothing if nothing is limited. Replaced as a whole when the configuration changes.
    classes: RwLock<Option<Arc<Classes>>>,
    /// What refills the buckets.
    clock: Arc<dyn Clock>,
    /// Where keys come from.
    rng: Arc<dyn Rng>,
    /// The key of users' hashes, for as long as the process lives.
    user_key: [u8; 32],
    /// The hour that the key of addresses belongs to, and the key.
    address_key: Mutex<(i64, [u8; 32])>,
    /// How many requests were refused, by class.
    refused: [AtomicU64; RateClass::ALL.len()],
}

/// One limiter a class, in the order of [`RateClass::ALL`].
type Classes = [Class; RateClass::ALL.len()];

/// The buckets of one class.
#[derive(Debug)]
struct Class {
    /// The buckets.
    limiter: governor::RateLimiter<
        u128,
        DashMapStateStore<u128>,
        GovernorTime,
        NoOpMiddleware<Duration>,
    >,
    /// Checks so far.
    checks: AtomicU64,
    /// Whether there were too many buckets at the last count.
    crowded: AtomicBool,
    /// Monotonic time of the last pruning, in milliseconds.
    pruned_ms: AtomicU64,
}

/// Our clock as governor's.
#[derive(Debug, Clone)]
struct GovernorTime(Arc<dyn Clock>);

impl GovernorClock for GovernorTime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

impl RateLimiter {
    /// Limits as configured, all buckets full.
    #[must_use]
    pub fn new(config: &RateLimitsConfig, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        let classes = RwLock::new(classes(config, &clock));
        let user_key = new_key(&*rng);
        let address_key = Mutex::new((clock.now_ms().div_euclid(ADDRESS_KEY_MS), new_key(&*rng)));
        Self {
            classes,
            clock,
            rng,
            user_key,
            address_key,
            refused: Default::default(),
        }
    }

    /// Takes new limits; all buckets are full again.
    pub fn reconfigure(&self, config: &RateLimitsConfig) {
        *self.classes.write().unwrap_or_else(PoisonError::into_inner) =
            classes(config, &self.clock);
    }

    /// Counts a request of a user.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED` with the time until the next may come.
    pub fn check_user(&self, class: RateClass, user: &UserId) -> Result<(), ApiError> {
        self.check(class, || keyed_hash(&self.user_key, user.as_bytes()))
    }

    /// Counts a request from an address; of an IPv6 address the network of 64 bits counts.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED` with the time until the next may come.
    pub fn check_address(&self, class: RateClass, address: IpAddr) -> Result<(), ApiError> {
        self.check(class, || {
            let network = match address.to_canonical() {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0 << 64),
            };
            keyed_hash(&self.current_address_key(), &network.octets())
        })
    }

    /// How many requests of a class were refused since the start.
    #[must_use]
    pub fn refused(&self, class: RateClass) -> u64 {
        self.refused[class as usize].load(Ordering::Relaxed)
    }

    fn check(&self, class: RateClass, key: impl FnOnce() -> u128) -> Result<(), ApiError> {
        let Some(classes) = self
            .classes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
        else {
            return Ok(());
        };
        classes[class as usize]
            .check(key(), self.clock.monotonic())
            .map_err(|wait| {
                self.refused[class as usize].fetch_add(1, Ordering::Relaxed);
                limit_exceeded(wait)
            })
    }

    /// The key of this hour; the one before is forgotten.
    fn current_address_key(&self) -> [u8; 32] {
        let hour = self.clock.now_ms().div_euclid(ADDRESS_KEY_MS);
        let mut current = self
            .address_key
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if current.0 != hour {
            *current = (hour, new_key(&*self.rng));
        }
        current.1
    }
}

impl Class {
    fn new(limit: RateLimit, clock: &Arc<dyn Clock>) -> Self {
        let burst = NonZeroU32::new(limit.burst).unwrap_or(NonZeroU32::MIN);
        let refill = Duration::try_from_secs_f64(1.0 / limit.per_second).unwrap_or(Duration::MAX);
        // No refill time at all would be no limit; the configuration allows none shorter than a microsecond.
        let quota = Quota::with_period(refill)
            .unwrap_or(Quota::per_second(burst))
            .allow_burst(burst);
        let time = GovernorTime(Arc::clone(clock));
        Self {
            limiter: governor::RateLimiter::dashmap_with_clock(quota, time),
            checks: AtomicU64::new(0),
            crowded: AtomicBool::new(false),
            pruned_ms: AtomicU64::new(millis(clock.monotonic())),
        }
    }

    /// Takes one from a bucket, or says how long to wait.
    fn check(&self, key: u128, now: Duration) -> Result<(), Duration> {
        let key = if self.is_crowded(now) {
            key % SHARED_KEYS
        } else {
            key
        };
        self.limiter
            .check_key(&key)
            .map_err(|refusal| refusal.wait_time_from(now))
    }

    /// Prunes and counts now and then; whether there were too many buckets at the last count.
    fn is_crowded(&self, now: Duration) -> bool {
        let pruned_ms = self.pruned_ms.load(Ordering::Relaxed);
        let due = millis(now).saturating_sub(pruned_ms) >= millis(PRUNE_INTERVAL);
        // Only one of those who see that it is due does it.
        if due
            && self
                .pruned_ms
                .compare_exchange(pruned_ms, millis(now), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        // Between two counts at most so many buckets are added, and as many as are shared.
        let checks = self.checks.fetch_add(1, Ordering::Relaxed);
        if checks.is_multiple_of(CHECKS_PER_COUNT) {
            self.crowded
                .store(self.limiter.len() >= KEYS_MAX, Ordering::Relaxed);
        }
        self.crowded.load(Ordering::Relaxed)
    }
}

/// What a request that came too early is answered with.
fn limit_exceeded(wait: Duration) -> ApiError {
    let mut data = LimitExceededErrorData::new();
    // At least a millisecond, or a client comes back at once.
    data.retry_after = Some(RetryAfter::Delay(wait.max(Duration::from_millis(1))));
    ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::LimitExceeded(data),
        "Too many requests",
    )
}

/// The limiters of a configuration.
fn classes(config: &RateLimitsConfig, clock: &Arc<dyn Clock>) -> Option<Arc<Classes>> {
    config
        .enabled
        .then(|| Arc::new(RateClass::ALL.map(|class| Class::new(config.of(class), clock))))
}

fn new_key(rng: &dyn Rng) -> [u8; 32] {
    let mut key = [0; 32];
    rng.fill(&mut key);
    key
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
