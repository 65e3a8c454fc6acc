//! Numbers used once, for requests that prove themselves by a secret instead of a token.
//!
//! Invariant: a nonce is accepted at most once, within [`LIFETIME`] of its issue; at most
//! [`NONCES_MAX`] are outstanding, the oldest dropped for a new one.

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;

use crate::clock::{Clock, Rng};

/// How many may be outstanding.
const NONCES_MAX: usize = 1000;
/// How long one is good.
const LIFETIME: Duration = Duration::from_secs(60);
/// Letters of one: 131 bits.
const NONCE_CHARS: usize = 22;

/// Outstanding nonces.
#[derive(Debug)]
pub struct Nonces {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// When each was issued, by the clock's monotonic time.
    issued: Cache<String, Duration>,
}

impl Nonces {
    /// None outstanding.
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self {
            clock,
            rng,
            issued: Cache::new(NONCES_MAX),
        }
    }

    /// A new one.
    pub fn issue(&self) -> String {
        let nonce = self.rng.token(NONCE_CHARS);
        self.issued.insert(nonce.clone(), self.clock.monotonic());
        nonce
    }

    /// Uses one up. Answers whether it was good.
    pub fn redeem(&self, nonce: &str) -> bool {
        let issued = self.issued.remove(nonce).map(|(_, at)| at);
        issued.is_some_and(|at| self.clock.monotonic().saturating_sub(at) < LIFETIME)
    }
}
