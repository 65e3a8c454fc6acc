//! `[rooms]`: how new rooms are made.
//!
//! Invariant: the default version is one that the server can create.

use passeur_protocol::versions;
use ruma::RoomVersionId;
use serde::Deserialize;

use super::problem::Problems;

/// Defaults of new rooms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomsConfig {
    /// Version of a room whose creator names none.
    pub default_version: RoomVersionId,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            default_version: RoomVersionId::V12,
        }
    }
}

impl RoomsConfig {
    pub(super) fn check(&self, problems: &mut Problems) {
        if versions::rules(&self.default_version).is_some() {
            return;
        }
        let supported: Vec<String> = versions::supported()
            .iter()
            .map(|version| format!("{:?}", version.id.as_str()))
            .collect();
        problems.add(
            "rooms.default_version",
            format!(
                "{:?} cannot be created: write one of {}",
                self.default_version.as_str(),
                supported.join(", ")
            ),
        );
    }
}
