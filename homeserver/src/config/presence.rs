//! `[presence]`: whether the server tells who is online.
//!
//! Invariant: it does not; the key exists so that nobody has to guess.

use serde::Deserialize;

use super::problem::Problems;

/// Presence, which is off.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PresenceConfig {
    /// Must be false.
    pub enabled: bool,
}

impl PresenceConfig {
    pub(super) fn check(self, problems: &mut Problems) {
        if self.enabled {
            problems.add(
                "presence.enabled",
                "cannot be true: this server does not tell who is online",
            );
        }
    }
}
