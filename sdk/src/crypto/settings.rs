//! How room keys are shared and replaced, with limits that no server can lift.
//!
//! Invariant: a server may ask for a session to be replaced sooner than by default, never later: rotation settings come from a
//! state event, which a server can forge. Spec: <https://spec.matrix.org/v1.19/client-server-api/#mroomencryption>

use ruma::events::room::encryption::RoomEncryptionEventContent;
use serde::{Deserialize, Serialize};

use crate::expiry::ExpiryClass;

/// A session encrypts at most so many messages.
pub const ROTATION_MESSAGES_MAX: u64 = 100;

/// A session is used for at most so long, in milliseconds: a week.
pub const ROTATION_PERIOD_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// A server cannot make us replace sessions more often than this, in milliseconds: it would cost us, and gain it nothing.
pub const ROTATION_PERIOD_MS_MIN: u64 = 60 * 60 * 1000;

/// When a session is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    period_ms: u64,
    messages: u64,
}

impl Rotation {
    /// Brings the wished values within the limits.
    pub fn new(period_ms: u64, messages: u64) -> Self {
        Self {
            period_ms: period_ms.clamp(ROTATION_PERIOD_MS_MIN, ROTATION_PERIOD_MS_MAX),
            messages: messages.clamp(1, ROTATION_MESSAGES_MAX),
        }
    }

    /// The longest use, in milliseconds, for a session of this lifetime class: a quarter of the class for expiring messages, so that
    /// a session's key can be destroyed soon after its last message dies.
    pub fn period_ms(&self, class: Option<ExpiryClass>) -> u64 {
        class.map_or(self.period_ms, |class| {
            self.period_ms.min(class.as_ms() / 4)
        })
    }

    /// The largest number of messages.
    pub const fn messages(&self) -> u64 {
        self.messages
    }
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            period_ms: ROTATION_PERIOD_MS_MAX,
            messages: ROTATION_MESSAGES_MAX,
        }
    }
}

impl From<&RoomEncryptionEventContent> for Rotation {
    fn from(content: &RoomEncryptionEventContent) -> Self {
        Self::new(
            content
                .rotation_period_ms
                .map_or(ROTATION_PERIOD_MS_MAX, u64::from),
            content
                .rotation_period_msgs
                .map_or(ROTATION_MESSAGES_MAX, u64::from),
        )
    }
}

/// Which devices of the members get the room key. The others are told that it is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SharingPolicy {
    /// Every device whose keys are consistent.
    AllDevices,
    /// Of users with cross-signing keys only the devices that they signed; of others those that were there when the user was first
    /// seen. A server cannot slip a device under a user who is known.
    #[default]
    CrossSignedWherePossible,
    /// Only devices that their owner signed (MSC4153).
    CrossSignedOnly,
    /// Only devices that were verified here, or that a user verified here has signed.
    VerifiedOnly,
}

/// What happens when a member turns up to whom no key of this room has been given before: a server can forge a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum MemberPolicy {
    /// The key is shared, and [`Notice::NewMember`](super::Notice::NewMember) says so. A server that forges a join reads what follows.
    Open,
    /// Whoever has been accepted gets the key: those who are members when a key is shared for the first time, those whom our user
    /// invites, and those named in [`accept_members`](super::OlmMachine::accept_members). Others wait, and
    /// [`Notice::MemberWaits`](super::Notice::MemberWaits) says so.
    #[default]
    AcceptedOnly,
    /// The same, and nothing is sent to anybody while someone waits.
    Confirm,
}

/// How the key of a room is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoomKeySettings {
    /// When sessions are replaced.
    pub rotation: Rotation,
    /// Which devices get the key.
    pub devices: SharingPolicy,
    /// What happens with new members.
    pub members: MemberPolicy,
    /// Lifetime class of the messages to encrypt; each class has a session of its own.
    pub expiry: Option<ExpiryClass>,
}

impl RoomKeySettings {
    /// Settings for a room's `m.room.encryption` event, with the default policies and no lifetime.
    pub fn from_encryption_event(content: &RoomEncryptionEventContent) -> Self {
        Self {
            rotation: Rotation::from(content),
            ..Self::default()
        }
    }
}

/// How one event is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncryptOptions {
    /// The lifetime stamp. Its class selects the session.
    pub expiry: Option<crate::expiry::ExpiryStamp>,
    /// Keeps `m.relates_to` inside the ciphertext only, so that servers do not see what an event refers to. Servers then cannot
    /// aggregate it, and clients that read the outside alone do not see the relation.
    pub hide_relation: bool,
}

#[cfg(test)]
mod tests {
    use ruma::{EventEncryptionAlgorithm, uint};

    use super::*;

    #[test]
    fn a_server_can_hasten_rotation_but_not_delay_it() {
        let mut content =
            RoomEncryptionEventContent::new(EventEncryptionAlgorithm::MegolmV1AesSha2);
        content.rotation_period_ms = ruma::UInt::new(9_000_000_000_000_000);
        content.rotation_period_msgs = ruma::UInt::new(9_000_000_000_000_000);
        assert_eq!(Rotation::from(&content), Rotation::default());
        content.rotation_period_ms = Some(uint!(0));
        content.rotation_period_msgs = Some(uint!(0));
        assert_eq!(
            Rotation::from(&content),
            Rotation {
                period_ms: ROTATION_PERIOD_MS_MIN,
                messages: 1
            }
        );
        content.rotation_period_msgs = Some(uint!(7));
        assert_eq!(Rotation::from(&content).messages(), 7);
    }

    #[test]
    fn an_expiring_session_is_used_for_a_quarter_of_its_class() {
        assert_eq!(
            Rotation::default().period_ms(Some(ExpiryClass::Hour1)),
            900_000
        );
        assert_eq!(Rotation::default().period_ms(None), ROTATION_PERIOD_MS_MAX);
    }
}
