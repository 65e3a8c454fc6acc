//! What the machine hands back: decrypted events, how far they can be trusted, and what the user should be told.
//!
//! Invariant: a decrypted event always carries a [`Trust`], and none of its values is called "trusted": the program has to decide,
//! with [`Trust::should_hide`] for those that decide nothing.

use std::fmt;

use ruma::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId, serde::JsonObject};

use super::{error::IdentityChange, secret::wipe, secrets::SecretName, verification::Verification};
use crate::expiry::MessageExpiry;

/// How well it is known which device sent something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The device was verified here, or its owner was and has signed it; or it is our own.
    Verified,
    /// The device is signed by its owner, whose identity has not changed since it was first seen.
    CrossSigned,
    /// The key came by way of a backup, a file or another device of ours: who made it is what that copy says. Fit to be read, not to be
    /// acted upon.
    Imported,
    /// Its owner does not use cross-signing; the device was there when the owner was first seen, and has had the same keys since.
    FirstUse,
    /// Its owner does not use cross-signing, and the device turned up after the owner was first seen: it may be the server's.
    NewDevice,
    /// Its owner uses cross-signing and has not signed it: it may be the server's.
    Unsigned,
    /// No device with these keys is known under the sender's name.
    UnknownDevice,
    /// The sender's identity changed and nobody has accepted the change.
    IdentityChanged,
}

impl Trust {
    /// Whether what was sent should not be displayed as the sender's.
    pub const fn should_hide(self) -> bool {
        matches!(
            self,
            Self::Unsigned | Self::NewDevice | Self::UnknownDevice | Self::IdentityChanged
        )
    }

    /// Whether it is proved, as far as keys can, that the sender sent it.
    pub const fn proves_sender(self) -> bool {
        matches!(self, Self::Verified | Self::CrossSigned | Self::FirstUse)
    }

    /// The same in words for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Verified => "from a device that you have verified",
            Self::CrossSigned => "from a device that its owner has signed",
            Self::Imported => "from a copy of the key: who sent it is not proved",
            Self::FirstUse => "from a device that has not changed since you first saw it",
            Self::NewDevice => "from a device that turned up later: it may be the server's",
            Self::Unsigned => "from a device that its owner has not signed: it may be the server's",
            Self::UnknownDevice => "from a device that nobody knows",
            Self::IdentityChanged => "from somebody whose identity has changed",
        }
    }
}

/// Where an event's relation (reply, edit, reaction) comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It has none.
    None,
    /// It stood inside the ciphertext: its sender made it.
    Authenticated,
    /// It stood outside only, as many clients do: the server may have made it, or changed it.
    Unauthenticated,
    /// It stood inside and outside, and differs: the server changed it. The content holds the inner one.
    Tampered,
}

/// A room event that was decrypted. Its `Debug` shows no content.
#[derive(Clone)]
pub struct DecryptedEvent {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The event's id.
    pub event_id: OwnedEventId,
    /// The sender, who is also the owner of the session.
    pub sender: OwnedUserId,
    /// The sending device, if it is known.
    pub sender_device: Option<OwnedDeviceId>,
    /// The event's true type.
    pub event_type: String,
    /// The event's true content. A relation that stood outside only has been copied in; see `relation`.
    pub content: JsonObject,
    /// How well the sending device is known.
    pub trust: Trust,
    /// Where `m.relates_to` comes from.
    pub relation: Relation,
    /// When the content must be gone; `None` if it lives on.
    pub expiry: Option<MessageExpiry>,
    /// The Megolm session, as it stands in the event.
    pub session_id: String,
    /// The message's index in the session.
    pub message_index: u32,
    /// Whether this event was decrypted before: a server that sends a command again does not make its sender say it twice.
    pub seen_before: bool,
    /// So many messages directly before this one in the session have not been seen here: they are under way, or somebody withholds them.
    pub missing_before: u32,
}

/// A to-device event, decrypted where it was encrypted. Events that only concern the machine are not handed out. Its `Debug` shows no
/// content, and its texts are overwritten when it is dropped.
#[derive(Clone)]
pub struct ToDeviceEvent {
    /// The sender. Authenticated only if `encryption` is there.
    pub sender: OwnedUserId,
    /// The event's type.
    pub event_type: String,
    /// The event's content.
    pub content: JsonObject,
    /// How it was encrypted; `None` if it came in the clear, so that the server may have written it.
    pub encryption: Option<ToDeviceEncryption>,
}

impl fmt::Debug for DecryptedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptedEvent")
            .field("event_type", &self.event_type)
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ToDeviceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToDeviceEvent")
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

impl Drop for ToDeviceEvent {
    fn drop(&mut self) {
        self.content.values_mut().for_each(wipe);
    }
}

/// How a to-device event was encrypted.
#[derive(Debug, Clone)]
pub struct ToDeviceEncryption {
    /// The sending device, if it is known.
    pub sender_device: Option<OwnedDeviceId>,
    /// Its Curve25519 key, unpadded base64.
    pub sender_key: String,
    /// How well the device is known.
    pub trust: Trust,
}

/// Something that the user should be told, or that a program may want to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An identity changed: sending is blocked until it is accepted.
    IdentityChanged(IdentityChange),
    /// A known user has a new device.
    NewDevice {
        /// The user.
        user_id: OwnedUserId,
        /// The device.
        device_id: OwnedDeviceId,
        /// Whether its owner signed it.
        cross_signed: bool,
    },
    /// A new member was given a room's key.
    NewMember {
        /// The room.
        room_id: OwnedRoomId,
        /// The member.
        user_id: OwnedUserId,
    },
    /// Somebody has become a member whom nobody has accepted: they get no keys until
    /// [`accept_members`](super::OlmMachine::accept_members), or `Room::accept_members`.
    MemberWaits {
        /// The room.
        room_id: OwnedRoomId,
        /// The member.
        user_id: OwnedUserId,
    },
    /// A member has been told for a while that the room has other members, or its members other devices, than we are told: a server may
    /// show one of us somebody whom it hides from the other, or have lost news. Compare the list of members and fingerprints with them.
    ViewDiffers {
        /// The room.
        room_id: OwnedRoomId,
        /// Who is told something else.
        user_id: OwnedUserId,
        /// Whether it is the members that differ; else it is their identities or devices.
        members: bool,
    },
    /// A device's entry in a user's list was refused: malformed, wrongly signed or not its own.
    DeviceRefused {
        /// The user.
        user_id: OwnedUserId,
        /// The device, as the server names it.
        device_id: OwnedDeviceId,
    },
    /// The server refuses for good to pass anything on to a device: it was not given a key that it should have.
    ToDeviceRefused {
        /// The user.
        user_id: OwnedUserId,
        /// The device.
        device_id: OwnedDeviceId,
    },
    /// The server holds other keys for this device than ours.
    OwnDeviceKeysReplaced,
    /// A verification was asked for, went on or ended.
    Verification(Verification),
    /// Another device of ours has given us a secret that we had asked for.
    SecretReceived(SecretName),
    /// A device sent a secret that we had not asked it for, or that is not the right one.
    SecretRefused,
    /// An encrypted to-device event could not be decrypted or failed a check, and was discarded.
    ToDeviceDiscarded {
        /// Who the server says sent it.
        sender: OwnedUserId,
        /// Why.
        reason: ToDeviceRefusal,
    },
    /// A room key was not taken.
    RoomKeyRefused {
        /// Who sent it.
        sender: OwnedUserId,
        /// Why.
        reason: RoomKeyRefusal,
    },
}

/// Why an encrypted to-device event was discarded. The numbers are those of the specification's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToDeviceRefusal {
    /// Not a well-formed Olm event, or one for another device.
    Malformed,
    /// Another algorithm than Olm; in particular Megolm, whose messages any member of a room could have passed on.
    NotOlm,
    /// No session decrypts it.
    Undecryptable,
    /// (1) The inner sender is not the outer one.
    SenderMismatch,
    /// (2) The signing key inside is not the sending device's.
    SenderKeyMismatch,
    /// (3) The recipient is not we.
    RecipientMismatch,
    /// (4) The recipient's key is not ours.
    RecipientKeyMismatch,
    /// (5) The device keys inside do not fit or are wrongly signed.
    SenderDeviceKeys,
    /// It is from a dehydrated device, which sends nothing.
    Dehydrated,
}

/// Why a room key was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomKeyRefusal {
    /// It is malformed, or its id is not that of its key.
    Malformed,
    /// Its time is over.
    Dead,
    /// A session of that id is held from another sender or for another room, or the key does not connect with it.
    Conflict,
    /// It was forwarded, and not by a verified device of ours that we had asked for it.
    Forwarded,
    /// It came in the clear.
    NotEncrypted,
}

/// What came out of a sync response.
#[derive(Debug, Default)]
pub struct SyncOutcome {
    /// To-device events for the program, in order.
    pub to_device: Vec<ToDeviceEvent>,
    /// Rooms and sessions whose keys arrived: events that were undecryptable for want of them can be tried again.
    pub new_room_keys: Vec<(OwnedRoomId, String)>,
    /// Sessions of which it is now known why their keys do not come.
    pub withheld: Vec<String>,
    /// What the user should be told.
    pub notices: Vec<Notice>,
}

/// What came out of a sweep.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SweepOutcome {
    /// Sessions of which part was destroyed.
    pub sessions_advanced: usize,
    /// Sessions that were destroyed altogether.
    pub sessions_deleted: usize,
    /// When the next thing expires, in milliseconds since the Unix epoch: sweep again then.
    pub next_ms: Option<u64>,
}

/// What to do with an event that came in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaintextVerdict {
    /// The room is not encrypted, or the event is of a kind that is never encrypted.
    Fine,
    /// The room is encrypted: show it, if at all, as written by the server.
    Unencrypted,
    /// The room is encrypted and the event would change an encrypted one (edit, reaction, poll answer): reject it.
    Reject,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_a_to_device_event_shows_no_content_and_nobody() {
        let content = JsonObject::from_iter([("body".to_owned(), "secret".into())]);
        let event = ToDeviceEvent {
            sender: ruma::owned_user_id!("@alice:one"),
            event_type: "org.example".to_owned(),
            content,
            encryption: None,
        };
        let printed = format!("{event:?}");
        assert_eq!(
            printed,
            r#"ToDeviceEvent { event_type: "org.example", .. }"#
        );
    }
}
