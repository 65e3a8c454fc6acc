//! Events that could not be placed, so that nobody is asked about them again each time they come.
//!
//! Invariant: one is remembered only for the server that brought it, which another server may do better, and only while what
//! it refers to is lacking: as soon as that is held, it is placed like any other.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::time::Duration;

use passeur_protocol::pdu::Pdu;
use quick_cache::sync::Cache;
use ruma::{OwnedEventId, OwnedServerName, ServerName};

use super::{ReceiveError, Rooms};

/// Events that are remembered.
const ORPHANS_MAX: usize = 10_000;
/// How long nobody is asked after an event could not be placed; doubled each time.
const PAUSE: Duration = Duration::from_secs(10);
/// How long nobody is asked at most.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// What was asked in vain.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    /// How often in a row.
    failures: u32,
    /// Not again before this, on the monotonic clock.
    next: Duration,
}

/// Events that could not be placed, by who brought them.
#[derive(Debug)]
pub(super) struct Orphans(Cache<(OwnedServerName, OwnedEventId), Attempt>);

impl Default for Orphans {
    fn default() -> Self {
        Self(Cache::new(ORPHANS_MAX))
    }
}

impl Rooms {
    /// Whether an event was brought by this server in vain a moment ago, and what it refers to is still not held.
    pub(super) async fn is_orphan(
        &self,
        origin: &ServerName,
        pdu: &Pdu,
    ) -> Result<bool, ReceiveError> {
        let key = (origin.to_owned(), pdu.event_id.clone());
        let now = self.context.clock.monotonic();
        let rests = self.orphans.0.get(&key);
        if rests.is_none_or(|attempt| now >= attempt.next) {
            return Ok(false);
        }
        let missing = self.missing(&pdu.room_id, &pdu.prev_events).await?;
        Ok(!missing.is_empty() || !self.unknown(&pdu.auth_events).await?.is_empty())
    }

    /// Remembers what became of an event.
    pub(super) fn note_orphan<T>(
        &self,
        origin: &ServerName,
        pdu: &Pdu,
        outcome: &Result<T, ReceiveError>,
    ) {
        let key = (origin.to_owned(), pdu.event_id.clone());
        let orphans = &self.orphans.0;
        if !matches!(outcome, Err(ReceiveError::Unplaced)) {
            orphans.remove(&key);
            return;
        }
        let failures = orphans.get(&key).map_or(0, |attempt| attempt.failures);
        let pause = PAUSE.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX);
        let attempt = Attempt {
            failures: failures.saturating_add(1),
            next: self.context.clock.monotonic().saturating_add(pause),
        };
        orphans.insert(key, attempt);
    }
}
