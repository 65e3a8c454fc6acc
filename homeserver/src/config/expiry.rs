//! `[expiry]`: when expired content is destroyed.
//!
//! Invariant: the purge is frequent enough for the promise that content is gone 60 s after its deadline, and nothing is accepted
//! that promises more than is done.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::problem::Problems;

/// Longest interval between purges, in milliseconds: half of the promised 60 s, so that one may fail.
const PURGE_INTERVAL_MS_MAX: u64 = 30_000;

/// Settings of the purge.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpiryConfig {
    /// Interval between purges, in milliseconds.
    pub purge_interval_ms: u64,
    /// Folder of the keys under which expiring content shall be encrypted once that is done; refused until then.
    pub key_store: Option<PathBuf>,
}

impl Default for ExpiryConfig {
    fn default() -> Self {
        Self {
            purge_interval_ms: 10_000,
            key_store: None,
        }
    }
}

impl ExpiryConfig {
    /// Interval between purges.
    #[must_use]
    pub const fn purge_interval(&self) -> Duration {
        Duration::from_millis(self.purge_interval_ms)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if !(1000..=PURGE_INTERVAL_MS_MAX).contains(&self.purge_interval_ms) {
            problems.add(
                "expiry.purge_interval_ms",
                format!("must lie between 1000 and {PURGE_INTERVAL_MS_MAX} milliseconds"),
            );
        }
        // Whoever sets it believes that backups are safe.
        if self.key_store.is_some() {
            problems.add(
                "expiry.key_store",
                "has no effect yet, and a backup keeps what expires after it was made (docs/expiry.md): remove it",
            );
        }
    }
}
