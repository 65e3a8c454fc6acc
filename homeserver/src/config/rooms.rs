//! `[rooms]`: how new rooms are made.
//!
//! Invariant: the default version is one that the server can create.

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
        if !matches!(
            self.default_version,
            RoomVersionId::V10 | RoomVersionId::V11 | RoomVersionId::V12
        ) {
            problems.add(
                "rooms.default_version",
                format!(
                    "{:?} cannot be created: write \"10\", \"11\" or \"12\"",
                    self.default_version.as_str()
                ),
            );
        }
    }
}
