//! What a verification looks like from outside.
//!
//! Invariant: nothing here holds a secret.
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#key-verification-framework>

use ruma::{OwnedDeviceId, OwnedRoomId, OwnedUserId, serde::JsonObject};

use super::Emoji;

/// A verification, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Its name: a transaction id, or the id of the event that asked for it.
    pub flow_id: String,
    /// Where it takes place; `None` over to-device messages.
    pub room_id: Option<OwnedRoomId>,
    /// With whom.
    pub user_id: OwnedUserId,
    /// With which of their devices, once that is known.
    pub device_id: Option<OwnedDeviceId>,
    /// How far it is.
    pub stage: VerificationStage,
    /// What can be done with codes, once both sides are ready.
    pub codes: QrAbilities,
}

/// What a device can do with the codes that verify by being scanned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QrAbilities {
    /// It can show one.
    pub show: bool,
    /// It can scan one.
    pub scan: bool,
}

/// How far a verification is, and what is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerificationStage {
    /// Asked for: if `incoming`, the person here decides, otherwise the one there.
    Requested {
        /// Whether the other side asked.
        incoming: bool,
    },
    /// Both sides are willing: either may begin to compare.
    Ready,
    /// Keys are being exchanged.
    Started,
    /// Both people compare: in person, by telephone, by anything that a server cannot change.
    Comparing {
        /// Seven emoji, if both sides can show them.
        emoji: Option<Box<[Emoji; 7]>>,
        /// Three numbers, if both sides can show them.
        decimals: Option<[u16; 3]>,
    },
    /// They have scanned the code that is shown here: ask whether their device says so too.
    Scanned,
    /// We said that they match, or scanned their code; the other side has not yet.
    Confirmed,
    /// Verified.
    Done,
    /// It came to nothing.
    Cancelled {
        /// Why, as the specification's code, such as `m.user` or `m.mismatched_sas`.
        code: String,
        /// Whether it was this device that ended it.
        by_us: bool,
    },
}

/// A message that belongs to a verification in a room: send it there, without a lifetime.
#[derive(Debug, Clone)]
pub struct RoomMessage {
    /// Where.
    pub room_id: OwnedRoomId,
    /// Its type.
    pub event_type: String,
    /// Its content.
    pub content: JsonObject,
}
