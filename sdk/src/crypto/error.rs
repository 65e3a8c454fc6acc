//! Why the crypto machine refuses something, one enum for each operation.
//!
//! Invariant: no message holds key material, plaintext, or what a peer wrote. Ids are in fields for the program to use, not in
//! the message, because messages end up in logs.

use ruma::{OwnedDeviceId, OwnedUserId};

use super::changes::Table;

/// A failure of the machine itself.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// A record in the store cannot be read.
    #[error("a record in table {} cannot be read", .table.name())]
    Decode {
        /// Where it is.
        table: Table,
    },
    /// A record cannot be serialised.
    #[error("a record in table {} cannot be written", .table.name())]
    Encode {
        /// Where it would be.
        table: Table,
    },
    /// The store holds another user's or another device's account.
    #[error("the store belongs to another user or device")]
    WrongAccount,
    /// An answer came for a request that is not in flight.
    #[error("no such request is in flight")]
    UnknownRequest,
    /// An answer of another kind than the request.
    #[error("the answer does not fit the request")]
    WrongResponse,
    /// A user that is not known.
    #[error("the user is not known")]
    UnknownUser,
    /// A device that is not known.
    #[error("the device is not known")]
    UnknownDevice,
    /// The fingerprint that was compared is not the device's.
    #[error("the fingerprint is not the device's")]
    FingerprintMismatch,
    /// The device's id is also the id of a cross-signing key: a server may have made it up to mislead a verification.
    #[error("the device's id is that of a cross-signing key")]
    DeviceIdIsKey,
    /// The user has a cross-signing identity already, whose private keys are not here.
    #[error("there is an identity already, whose keys this device does not hold")]
    IdentityExists,
    /// Somebody's identity has changed, and nobody has accepted that: there is nothing firm to be verified.
    #[error("the identity has changed and nobody has accepted that")]
    IdentityUnsettled,
    /// There is no verification of that name, or not one for which this can be done now.
    #[error("there is no such verification")]
    UnknownVerification,
    /// One side has no cross-signing identity, or ours is not one that this device is sure of: there is nothing that a code could name.
    #[error("there is no identity that a code could name")]
    NoIdentity,
    /// What was scanned is no code, or that of another verification.
    #[error("this is not the code of this verification")]
    NotThisCode,
    /// A secret is not the private half of the key that is known.
    #[error("the secret does not fit the public key")]
    SecretMismatch,
    /// There is no backup, or its private key is not here.
    #[error("there is no backup here that could be read")]
    NoBackup,
    /// There are no private cross-signing keys here.
    #[error("this device does not hold the cross-signing keys")]
    NoCrossSigningKeys,
    /// Key material could not be used.
    #[error("key material could not be used")]
    Key,
}

/// What changed about a user whose identity was already known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityChange {
    /// The master cross-signing key is another.
    MasterKey {
        /// Whose.
        user_id: OwnedUserId,
        /// Whether the old one had been verified.
        was_verified: bool,
    },
    /// The user had a master key and now has none.
    MasterKeyGone {
        /// Whose.
        user_id: OwnedUserId,
        /// Whether the old one had been verified.
        was_verified: bool,
    },
    /// A device of an id that was already known has other keys.
    DeviceKeys {
        /// Whose.
        user_id: OwnedUserId,
        /// Which device.
        device_id: OwnedDeviceId,
        /// Whether its old keys had been verified.
        was_verified: bool,
    },
}

impl IdentityChange {
    /// Whose identity changed.
    pub const fn user_id(&self) -> &OwnedUserId {
        match self {
            Self::MasterKey { user_id, .. }
            | Self::MasterKeyGone { user_id, .. }
            | Self::DeviceKeys { user_id, .. } => user_id,
        }
    }
}

/// Why the room key cannot be shared now. Each variant says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// Someone's identity changed. Show it; go on after [`accept_identity_change`](super::OlmMachine::accept_identity_change).
    #[error("the identity of {} of the members changed", .changes.len())]
    IdentityChanged {
        /// Who and what.
        changes: Vec<IdentityChange>,
    },
    /// Device lists have to be fetched first: send the [outgoing requests](super::OlmMachine::outgoing_requests), then try again.
    #[error("the device lists of {} of the members are not known", .users.len())]
    DevicesUnknown {
        /// Whose.
        users: Vec<OwnedUserId>,
    },
    /// Olm sessions have to be made first: send what [`get_missing_sessions`](super::OlmMachine::get_missing_sessions) gives.
    #[error("there are no Olm sessions with devices of {} of the members", .users.len())]
    SessionsMissing {
        /// Whose devices.
        users: Vec<OwnedUserId>,
    },
    /// Members joined that nobody has accepted; only under [`MemberPolicy::Confirm`](super::MemberPolicy::Confirm). Go on after
    /// [`accept_members`](super::OlmMachine::accept_members).
    #[error("{} new members have not been accepted", .users.len())]
    NewMembers {
        /// Who.
        users: Vec<OwnedUserId>,
    },
    /// The machine itself failed.
    #[error(transparent)]
    Machine(#[from] CryptoError),
}

/// Why an event cannot be encrypted now.
#[derive(Debug, thiserror::Error)]
pub enum EncryptError {
    /// No session is shared for this room and lifetime class, or it must be replaced: call
    /// [`share_room_key`](super::OlmMachine::share_room_key) first.
    #[error("the room key must be shared first")]
    RoomKeyNotShared,
    /// Someone who holds the session's key has changed identity since.
    #[error("the identity of a member changed")]
    IdentityChanged {
        /// Who and what.
        changes: Vec<IdentityChange>,
    },
    /// The event is too large.
    #[error("the event has {bytes} bytes, more than {bytes_max}")]
    TooLarge {
        /// Its size as plaintext.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The content is not a JSON object.
    #[error("the content is not a JSON object")]
    NotAnObject,
    /// The machine itself failed.
    #[error(transparent)]
    Machine(#[from] CryptoError),
}

/// Why a room event was not decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecryptable {
    /// The event is not a well-formed `m.room.encrypted` event.
    #[error("the event is malformed")]
    Malformed,
    /// An algorithm that is not Megolm.
    #[error("the algorithm is not supported")]
    UnknownAlgorithm,
    /// The key has not arrived, and may still: try again when
    /// [`SyncOutcome::new_room_keys`](super::SyncOutcome::new_room_keys) names the session.
    #[error("the key has not arrived")]
    MissingRoomKey {
        /// The session.
        session_id: String,
        /// The code with which the sender said that it will not send the key, such as `m.unverified`. Not authenticated.
        withheld: Option<String>,
    },
    /// The session is here, but from a later message on.
    #[error("the key is known from message {first_index} on, this is message {index}")]
    IndexTooOld {
        /// The event's index.
        index: u32,
        /// The first index that can be decrypted.
        first_index: u32,
    },
    /// The message's time is over and its key has been destroyed.
    #[error("the message has expired")]
    Expired,
    /// Another event used this session and index before: someone sends an old ciphertext again.
    #[error("the message was already received as another event")]
    Replay,
    /// The session belongs to another user than the event's sender: the server changed the sender.
    #[error("the sender does not own the session")]
    SenderMismatch,
    /// The session or the plaintext belongs to another room: the server moved the event.
    #[error("the event belongs to another room")]
    RoomMismatch,
    /// The ciphertext's MAC or signature is wrong.
    #[error("the ciphertext is not authentic")]
    BadCiphertext,
    /// The plaintext is not an event.
    #[error("the plaintext is malformed")]
    BadPlaintext,
    /// A type that only makes sense over Olm or in the clear.
    #[error("an event of this type must not be encrypted with Megolm")]
    ForbiddenType,
    /// The machine itself failed.
    #[error("the crypto machine failed")]
    Machine,
}

impl Undecryptable {
    /// What can be done about it, in words for people.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::MissingRoomKey {
                withheld: Some(code),
                ..
            } => match code.as_str() {
                "m.unverified" => {
                    "The sender gives keys to verified devices only: verify this one."
                }
                "m.blacklisted" => "The sender has barred this device.",
                "m.unauthorised" => "The sender does not give this key to this device.",
                "m.unavailable" => "The device that was asked does not have the key.",
                "m.no_olm" => "The sender could not reach this device; newer messages should work.",
                _ => "The sender does not give the key.",
            },
            Self::MissingRoomKey { .. } => {
                "The key may still come. Another device of yours or your key backup may have it."
            }
            Self::IndexTooOld { .. } => {
                "Written before this device was let in. Another device of yours or your key backup may have the key."
            }
            Self::Expired => "Nothing: its time is over, for everybody.",
            Self::UnknownAlgorithm => "A newer version of this program may be able to read it.",
            Self::Replay
            | Self::SenderMismatch
            | Self::RoomMismatch
            | Self::BadCiphertext
            | Self::BadPlaintext
            | Self::ForbiddenType
            | Self::Malformed => {
                "Do not trust it. The server, or another member, has tampered with it."
            }
            Self::Machine => "Start the program again.",
        }
    }
}
