//! A message as it lies in the queue.
//!
//! Invariant: it is kept as plaintext in the encrypted store and encrypted for the room at each attempt, for the members and
//! devices of that moment.

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedTransactionId, RoomId, TransactionId, serde::JsonObject,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::Waiting;
use crate::{
    client::ClientError,
    crypto::SecretBytes,
    expiry::ExpiryClass,
    store::{SendQueueItem, SendState},
};

/// Prefix of the names in the store under which event IDs are kept.
const RECEIPT_VALUES: &str = "receipt.";

/// A type that stands for a redaction in the queue; it is an endpoint of its own.
pub(crate) const REDACTION: &str = "m.room.redaction";

/// The message that another one changes or reacts to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// One that the server has.
    Event(OwnedEventId),
    /// One that was queued with [`keep_receipt`](super::SendOptions::keep_receipt), sent or not.
    Queued(OwnedTransactionId),
}

/// A message as it lies in the queue.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct QueuedMessage {
    /// The type that the decrypted event has.
    pub(crate) event_type: String,
    /// The content, without the ID of the target.
    pub(crate) content: JsonObject,
    /// How long it lives.
    pub(crate) class: Option<ExpiryClass>,
    /// Whether it waits for the room to be encrypted.
    pub(crate) must_encrypt: bool,
    /// What it changes or reacts to.
    pub(crate) target: Option<Target>,
    /// Whether its event ID is kept.
    pub(crate) keep_receipt: bool,
    /// The ciphertext, once it was encrypted; the plaintext is gone then.
    #[serde(default)]
    pub(crate) wire: Option<JsonObject>,
}

impl std::fmt::Debug for QueuedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuedMessage")
            .field("event_type", &self.event_type)
            .finish_non_exhaustive()
    }
}

impl QueuedMessage {
    pub(super) fn to_item(
        &self,
        id: i64,
        room_id: &RoomId,
        transaction_id: &TransactionId,
    ) -> Result<SendQueueItem, ClientError> {
        let value = serde_json::to_vec(self).map_err(|_| ClientError::Encode)?;
        Ok(SendQueueItem {
            id,
            room_id: room_id.to_owned(),
            txn_id: transaction_id.to_owned(),
            state: if self.wire.is_some() {
                SendState::Encrypted
            } else {
                SendState::Queued
            },
            body: SecretBytes::new(value),
        })
    }

    pub(super) fn from_item(item: &SendQueueItem) -> Result<(OwnedRoomId, Waiting), ClientError> {
        let message =
            serde_json::from_slice(item.body.expose()).map_err(|_| ClientError::Decode)?;
        let transaction_id = item.txn_id.clone();
        Ok((
            item.room_id.clone(),
            Waiting {
                id: item.id,
                transaction_id,
                message,
            },
        ))
    }

    /// The content as it is to be sent; `None` while the target has no ID yet.
    pub(super) fn finished(&self) -> Option<JsonObject> {
        let mut content = self.content.clone();
        match &self.target {
            None => {}
            Some(Target::Queued(_)) => return None,
            Some(Target::Event(event_id)) => {
                let relation = content
                    .entry("m.relates_to")
                    .or_insert_with(|| Value::Object(JsonObject::new()));
                if let Value::Object(relation) = relation {
                    relation.insert("event_id".to_owned(), event_id.as_str().into());
                }
            }
        }
        Some(content)
    }
}

impl Waiting {
    /// The same message after it was encrypted.
    pub(super) fn encrypted(&self, wire: &RawValue) -> Self {
        let mut message = self.message.clone();
        message.wire = serde_json::from_str(wire.get()).ok();
        if message.wire.is_some() {
            message.content = JsonObject::new();
        }
        Self {
            id: self.id,
            transaction_id: self.transaction_id.clone(),
            message,
        }
    }
}

/// Where the event ID of a message is kept.
pub(crate) fn receipt_value(transaction_id: &TransactionId) -> String {
    format!("{RECEIPT_VALUES}{transaction_id}")
}
