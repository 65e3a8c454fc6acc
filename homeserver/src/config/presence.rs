//! `[presence]`: whether the server tells who is online.
//!
//! Invariant: unless the operator asks for it, nobody is told, here or elsewhere.

use serde::Deserialize;

/// Presence, which is off by default: when somebody is at their device is nobody's business.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PresenceConfig {
    /// Whether users are told of each other, and other servers of our users.
    pub enabled: bool,
}
