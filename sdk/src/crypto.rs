//! End-to-end encryption: a machine that asks for requests to be sent, takes answers, and hands back what must be written.
//!
//! The machine does no I/O and has no clock: time is the argument `now_ms` (milliseconds since the Unix epoch). Everything it
//! remembers are [`Record`]s. A step that changes anything returns a [`Staged`] value: commit its [`Changes`] to the store, in one
//! transaction together with what belongs to them (the sync token, the ciphertext in the send queue), *then* act on the value.
//! A process killed at any instruction then loses nothing: on restart, [`OlmMachine::load`] from the store's records.
//!
//! # To receive
//!
//! 1. [`receive_sync_changes`](OlmMachine::receive_sync_changes) with the to-device events, device lists and key counts,
//! 2. [`decrypt_room_event`](OlmMachine::decrypt_room_event) for each `m.room.encrypted` event, and
//!    [`judge_plaintext`](OlmMachine::judge_plaintext) for each other event,
//! 3. commit all their changes with the new sync token,
//! 4. send all [`outgoing_requests`](OlmMachine::outgoing_requests), each answered by
//!    [`mark_request_as_sent`](OlmMachine::mark_request_as_sent) or [`request_failed`](OlmMachine::request_failed); commit.
//!
//! # To send into an encrypted room
//!
//! 1. [`update_tracked_users`](OlmMachine::update_tracked_users) with the members; send the outgoing requests until there is no
//!    key query left,
//! 2. [`get_missing_sessions`](OlmMachine::get_missing_sessions); send the claim it returns and hand back its answer,
//! 3. [`share_room_key`](OlmMachine::share_room_key); commit; the messages are now among the outgoing requests: send them,
//! 4. [`encrypt_room_event`](OlmMachine::encrypt_room_event); commit the changes and the ciphertext together; send it.
//!
//! Steps 1 to 3 cost nothing when there is nothing to do. [`share_room_key`](OlmMachine::share_room_key) and
//! [`encrypt_room_event`](OlmMachine::encrypt_room_event) refuse with a typed reason rather than guess.
//!
//! # Trust
//!
//! Identities are pinned when first seen: each user's master key, and each device's pair of keys. A change blocks sending to that
//! user until [`accept_identity_change`](OlmMachine::accept_identity_change). Comparing fingerprints
//! ([`verify_device`](OlmMachine::verify_device), [`verify_user`](OlmMachine::verify_user)) raises trust, as do two people who compare
//! emoji or numbers ([`request_verification`](OlmMachine::request_verification) and what follows it) or of whom one scans the other's
//! code ([`verification_code`](OlmMachine::verification_code)). What was verified is signed by our
//! cross-signing keys ([`create_cross_signing`](OlmMachine::create_cross_signing)), so that our other devices know it too.
//!
//! By default ([`SharingPolicy`]) a user who has a cross-signing identity is given keys on the devices that it has signed; one who has none,
//! on the devices that were there when the user was first seen. So everybody can be reached, and a server cannot slip a device under
//! anyone who is known. Who is a member of a room is the server's word as well: see [`MemberPolicy`].
//!
//! # What members are told
//!
//! A server can tell one member of more members, or of more devices, than another. So each device says within its messages what it is told: a
//! digest of the room's members, and one of their identities and devices, in the first message of a session after each change, in rooms of
//! up to [`VIEW_MEMBERS_MAX`] members. Whoever is told something else for [`VIEW_GRACE_MS`] gets a [`Notice::ViewDiffers`]
//! ([`compare_views`](OlmMachine::compare_views)). It is an alarm, not a proof: between servers that do not reach each other it can be
//! false, and a server that shows the same ghost to everybody, or that holds messages back for [`VIEW_AGE_MS_MAX`], is not found out by it.
//!
//! # Copies of keys
//!
//! A room key that came from a backup ([`restore_backup`](OlmMachine::restore_backup)), a file
//! ([`import_room_keys`](OlmMachine::import_room_keys)) or another device of ours ([`request_room_key`](OlmMachine::request_room_key))
//! lets a message be read and proves nothing of its sender: [`Trust::Imported`]. Keys of expiring messages are never copied.
//!
//! Only this module may use vodozemac. Spec: <https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption>

mod account;
mod attachment;
mod backup;
mod changes;
mod cross_signing;
mod deadlines;
mod decrypt;
mod dehydrated;
mod encrypt;
mod error;
mod exported;
mod in_flight;
mod inbound;
mod key_export;
mod key_requests;
mod machine;
mod members;
mod olm;
mod outbound;
mod outcome;
mod outgoing;
mod pickle;
mod query;
mod requests;
mod room_keys;
mod secret;
mod secret_storage;
mod secrets;
mod settings;
mod share;
mod signatures;
mod signing;
mod sweep;
#[cfg(test)]
mod tests;
mod to_device;
mod users;
mod verification;
mod views;

pub(crate) use self::secret::{to_json, wipe};
pub use self::{
    attachment::{
        ATTACHMENT_BYTES_MAX, AttachmentError, EncryptedAttachment, decrypt_attachment,
        encrypt_attachment,
    },
    backup::{BACKUP_ALGORITHM, BackupStatus, BackupUpload, Restored},
    changes::{Changes, Record, Staged, Table},
    deadlines::Deadline,
    dehydrated::{DEHYDRATION_KEY_SECRET, DehydrationKey, RehydratedDevice},
    error::{CryptoError, EncryptError, IdentityChange, ShareError, Undecryptable},
    exported::{IMPORT_SESSIONS_MAX, ImportOutcome},
    key_export::{KEY_EXPORT_BYTES_MAX, KeyExportError, decrypt_key_export, encrypt_key_export},
    machine::OlmMachine,
    outcome::{
        DecryptedEvent, Notice, PlaintextVerdict, Relation, RoomKeyRefusal, SweepOutcome,
        SyncOutcome, ToDeviceEncryption, ToDeviceEvent, ToDeviceRefusal, Trust,
    },
    requests::{CrossSigningUpload, IncomingResponse, OutgoingBody, OutgoingRequest, SyncChanges},
    secret::SecretBytes,
    secret_storage::{SecretStorageError, SecretStorageKey},
    secrets::SecretName,
    settings::{
        EncryptOptions, MemberPolicy, ROTATION_MESSAGES_MAX, ROTATION_PERIOD_MS_MAX,
        ROTATION_PERIOD_MS_MIN, RoomKeySettings, Rotation, SharingPolicy,
    },
    users::DeviceInfo,
    verification::{Emoji, QrAbilities, RoomMessage, Verification, VerificationStage},
    views::{VIEW_AGE_MS_MAX, VIEW_GRACE_MS, VIEW_MEMBERS_MAX},
};
