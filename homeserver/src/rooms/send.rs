//! A local event: into the room's queue, and its answer.
//!
//! Invariant: an answered send is on disk; a repeat of a transaction answers the event that the
//! first one made.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use passeur_protocol::build::BuildError;
use ruma::{
    DeviceId, OwnedEventId, OwnedRoomId, OwnedUserId, TransactionId, events::TimelineEventType,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Rooms, queue::Work};
use crate::{outbound::RemoteError, store::StoreError};

/// What makes a send idempotent: the device and its name for the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// The device.
    pub device_id: String,
    /// Endpoint, room and transaction id of the client, hashed; then, unless it is too long, a
    /// space and the transaction id itself.
    pub key: String,
}

/// The longest transaction id that is told back to its device, in bytes.
const TXN_ID_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;

impl Transaction {
    /// A device's name for a request: `what` holds endpoint, room and transaction id.
    pub fn new(device: &DeviceId, what: &str, txn_id: &TransactionId) -> Self {
        let mut key = URL_SAFE_NO_PAD.encode(Sha256::digest(what.as_bytes()));
        if txn_id.as_str().len() <= TXN_ID_BYTES_MAX {
            key.push(' ');
            key.push_str(txn_id.as_str());
        }
        Self {
            device_id: device.to_string(),
            key,
        }
    }

    /// The client's transaction id in a key.
    pub(super) fn id_in(key: &str) -> Option<&str> {
        key.split_once(' ').map(|(_, id)| id)
    }
}

/// An event that a local user wants to send.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Who sends it: one of ours.
    pub sender: OwnedUserId,
    /// Its type.
    pub kind: TimelineEventType,
    /// Its state key, for a state event.
    pub state_key: Option<String>,
    /// Its content: a JSON object.
    pub content: Box<RawValue>,
    /// For a redaction, what it redacts.
    pub redacts: Option<OwnedEventId>,
    /// The client's transaction, if it named one.
    pub transaction: Option<Transaction>,
    /// When it was sent, in ms since the epoch; now, if none.
    pub timestamp_ms: Option<i64>,
}

/// Why an event was not sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// This server is not in the room.
    #[error("no such room")]
    UnknownRoom,
    /// The room's rules do not allow it: what they say, for the sender alone.
    #[error("not allowed")]
    Forbidden(String),
    /// The room's policy server does not recommend the event: what it answered.
    #[error("not recommended")]
    NotRecommended(Box<RemoteError>),
    /// The event is too large.
    #[error("too large")]
    TooLarge,
    /// The content is no canonical JSON object, or the event is malformed: what is wrong.
    #[error("malformed")]
    Malformed(String),
    /// What is to be redacted is not an event of this room that this server holds.
    #[error("no such event")]
    UnknownEvent,
    /// The user has annotated the same event in the same way before.
    #[error("annotated already")]
    DuplicateAnnotation,
    /// A thread was to begin at an event that itself relates to another.
    #[error("no root of a thread")]
    NotAThreadRoot,
    /// An event of another server that the room's rules do not allow; it stays rejected.
    #[error("rejected")]
    Rejected(String),
    /// An event of another server whose predecessors' state is not known.
    #[error("its place in the room is not known")]
    Unplaced,
    /// The room changed faster than the event could be built, or the queue is full.
    #[error("too busy")]
    Busy,
    /// The database failed; it was logged.
    #[error("storage")]
    Storage,
    /// What the database holds of it cannot be read; it was logged, and trying again does not help.
    #[error("damaged")]
    Damaged,
}

impl From<BuildError> for SendError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::TooLarge => Self::TooLarge,
            BuildError::Content(error) => Self::Malformed(error.to_string()),
            BuildError::Format(reason) => Self::Malformed(reason.detail().to_owned()),
        }
    }
}

impl From<StoreError> for SendError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a room could not be read or written");
        match error {
            StoreError::Corrupt { .. } => Self::Damaged,
            _ => Self::Storage,
        }
    }
}

impl Rooms {
    /// Sends an event as a local user and answers with its id once it is on disk.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(
        self: &std::sync::Arc<Self>,
        draft: Draft,
    ) -> Result<OwnedEventId, SendError> {
        if let Some(id) = self.send_recommended(&draft).await? {
            return Ok(id);
        }
        self.enqueue(draft.room_id.clone(), Work::Draft(Box::new(draft)))
            .await
    }
}
