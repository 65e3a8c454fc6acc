//! A message as it lies in the queue.
//!
//! Invariant: it is kept as plaintext in the encrypted store until it is encrypted, for the members and devices of that moment and
//! with the lifetime that the room's policy of that moment allows; what was encrypted is sent as it is. Texts are overwritten when
//! it is dropped.

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedTransactionId, RoomId, TransactionId, serde::JsonObject,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::Waiting;
use crate::{
    client::ClientError,
    crypto::{Deadline, to_json, wipe},
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
    /// How long it was asked to live; the room's policy may shorten that when it goes out.
    pub(crate) wished: Option<ExpiryClass>,
    /// Whether it waits for the room to be encrypted.
    pub(crate) must_encrypt: bool,
    /// What it changes or reacts to.
    pub(crate) target: Option<Target>,
    /// Whether its event ID is kept.
    pub(crate) keep_receipt: bool,
    /// The ciphertext, once it was encrypted; the plaintext is gone then.
    #[serde(default)]
    pub(crate) wire: Option<JsonObject>,
    /// When the ciphertext dies: nobody could read it afterwards.
    #[serde(default)]
    pub(crate) wire_deadline: Option<Deadline>,
}

impl Drop for QueuedMessage {
    fn drop(&mut self) {
        self.content.values_mut().for_each(wipe);
    }
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
        Ok(SendQueueItem {
            id,
            room_id: room_id.to_owned(),
            txn_id: transaction_id.to_owned(),
            state: if self.wire.is_some() {
                SendState::Encrypted
            } else {
                SendState::Queued
            },
            body: to_json(self).map_err(|_| ClientError::Encode)?,
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

    /// How it refers to its target.
    fn relation(&self) -> Option<&str> {
        self.content.get("m.relates_to")?.get("rel_type")?.as_str()
    }

    /// What an edit says, without the message that it changes; `None` if it is no edit.
    pub(super) fn standing_alone(&self) -> Option<JsonObject> {
        (self.relation()? == "m.replace")
            .then(|| self.content.get("m.new_content")?.as_object().cloned())
            .flatten()
    }

    /// The message after its target turned out never to be sent. A reaction keeps the lost target, and fails by it.
    pub(super) fn without_target(&self) -> Self {
        let mut message = self.clone();
        if let Some(content) = self.standing_alone() {
            message.content.values_mut().for_each(wipe);
            message.content = content;
            message.target = None;
        } else if self.relation() != Some("m.annotation") {
            message.content.remove("m.relates_to");
            message.target = None;
        }
        message
    }
}

impl Waiting {
    /// The same message after it was encrypted.
    pub(super) fn encrypted(&self, wire: &RawValue, deadline: Option<Deadline>) -> Self {
        let mut message = self.message.clone();
        message.wire_deadline = deadline;
        message.wire = serde_json::from_str(wire.get()).ok();
        if message.wire.is_some() {
            message.content.values_mut().for_each(wipe);
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
