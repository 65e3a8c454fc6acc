//! The room versions that Passeur supports, and their rules.
//!
//! Invariant: no code compares version numbers; it asks the [`RoomVersionRules`] that this table gives for a room.
//!
//! Specification: <https://spec.matrix.org/v1.19/rooms/>.

use ruma::{RoomVersionId, room_version_rules::RoomVersionRules};

/// One row of the table.
#[derive(Debug)]
pub struct SupportedVersion {
    /// The version as rooms name it.
    pub id: RoomVersionId,
    /// What holds in rooms of that version.
    pub rules: RoomVersionRules,
    /// Whether the version is announced as stable in `/capabilities`.
    pub is_stable: bool,
}

const fn stable(id: RoomVersionId, rules: RoomVersionRules) -> SupportedVersion {
    SupportedVersion {
        id,
        rules,
        is_stable: true,
    }
}

/// All supported versions, oldest first. To support one more, add a line.
static SUPPORTED: &[SupportedVersion] = &[
    stable(RoomVersionId::V6, RoomVersionRules::V6),
    stable(RoomVersionId::V7, RoomVersionRules::V7),
    stable(RoomVersionId::V8, RoomVersionRules::V8),
    stable(RoomVersionId::V9, RoomVersionRules::V9),
    stable(RoomVersionId::V10, RoomVersionRules::V10),
    stable(RoomVersionId::V11, RoomVersionRules::V11),
    stable(RoomVersionId::V12, RoomVersionRules::V12),
];

/// The version of new rooms unless the operator chooses another one.
pub const DEFAULT_ROOM_VERSION: RoomVersionId = RoomVersionId::V12;

/// All supported versions, oldest first.
pub fn supported() -> &'static [SupportedVersion] {
    SUPPORTED
}

/// The rules of `version`, or `None` if it is not supported (`M_UNSUPPORTED_ROOM_VERSION`).
pub fn rules(version: &RoomVersionId) -> Option<&'static RoomVersionRules> {
    SUPPORTED
        .iter()
        .find(|entry| entry.id == *version)
        .map(|entry| &entry.rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_version_is_supported_and_stable() {
        let entry = supported()
            .iter()
            .find(|entry| entry.id == DEFAULT_ROOM_VERSION)
            .unwrap();
        assert!(entry.is_stable);
    }

    #[test]
    fn rules_are_those_of_the_version_that_was_asked_for() {
        assert!(
            rules(&RoomVersionId::V12)
                .unwrap()
                .authorization
                .room_create_event_id_as_room_id
        );
        assert!(
            !rules(&RoomVersionId::V11)
                .unwrap()
                .authorization
                .room_create_event_id_as_room_id
        );
        assert!(
            rules(&RoomVersionId::V11)
                .unwrap()
                .redaction
                .content_field_redacts
        );
        assert!(
            !rules(&RoomVersionId::V10)
                .unwrap()
                .redaction
                .content_field_redacts
        );
    }

    #[test]
    fn versions_without_strict_canonical_json_are_refused() {
        assert!(rules(&RoomVersionId::V1).is_none());
        assert!(rules(&RoomVersionId::V5).is_none());
        assert!(rules(&"org.example.unknown".try_into().unwrap()).is_none());
    }

    #[test]
    fn every_entry_keeps_canonical_json_strict() {
        for entry in supported() {
            assert!(
                entry.rules.authorization.strict_canonical_json,
                "{}",
                entry.id
            );
            assert_eq!(
                entry.id.rules().map(|rules| rules.state_res),
                Some(entry.rules.state_res)
            );
        }
    }
}
