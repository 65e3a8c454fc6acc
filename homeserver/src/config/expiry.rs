//! `[expiry]`: when expired content is destroyed.
//!
//! Invariant: the purge is frequent enough for the promise that content is gone 60 s after its deadline, and a copy of the data
//! folder never takes the keys of expiring content along.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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
    /// Folder of the keys under which expiring content is encrypted; outside the data folder.
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

    pub(super) fn check(&self, data_dir: &Path, problems: &mut Problems) {
        if !(1000..=PURGE_INTERVAL_MS_MAX).contains(&self.purge_interval_ms) {
            problems.add(
                "expiry.purge_interval_ms",
                format!("must lie between 1000 and {PURGE_INTERVAL_MS_MAX} milliseconds"),
            );
        }
        if self
            .key_store
            .as_ref()
            .is_some_and(|keys| keys.starts_with(data_dir))
        {
            problems.add("expiry.key_store", "lies in data_dir, so that a backup would hold content and keys together: choose another folder");
        }
    }
}
