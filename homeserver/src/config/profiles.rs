//! `[profiles]`: to whom people's names and pictures are shown.

use serde::Deserialize;

/// Who may look up a profile.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfilesConfig {
    /// Whether a profile is shown to those who show no access token too, and to servers that share no room with its user, as
    /// the specification has it.
    pub public: bool,
}

impl Default for ProfilesConfig {
    fn default() -> Self {
        Self { public: true }
    }
}
