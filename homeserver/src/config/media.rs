//! `[media]`: what may be uploaded, and where it is kept.
//!
//! Invariant: an upload has a limit, the one that `/config` tells clients.

use std::path::PathBuf;

use serde::Deserialize;

use super::problem::Problems;

/// Largest limit that can be set, in bytes: 4 GiB.
const UPLOAD_BYTES_MAX_MAX: u64 = 4 << 30;

/// Limits and place of media.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    /// Largest upload, in bytes.
    pub upload_bytes_max: u64,
    /// Folder of the files; `media` in the data folder if absent.
    pub path: Option<PathBuf>,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self {
            upload_bytes_max: 50 << 20,
            path: None,
        }
    }
}

impl MediaConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if !(1..=UPLOAD_BYTES_MAX_MAX).contains(&self.upload_bytes_max) {
            problems.add(
                "media.upload_bytes_max",
                format!("must lie between 1 and {UPLOAD_BYTES_MAX_MAX} bytes"),
            );
        }
    }
}
