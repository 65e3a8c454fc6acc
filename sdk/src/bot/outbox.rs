//! One message per key, edited as what it tells of changes.
//!
//! Invariant: what the outbox knows of a key and the message in the send queue are written in one transaction. So after a crash
//! a [`put`](Outbox::put) either never happened, or its message is queued and the next one about this key edits it.
//!
//! A message that has expired, or that was the last about its key, is not edited any more: the next one begins anew.

use std::{collections::BTreeMap, fmt};

use ruma::{OwnedTransactionId, serde::JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::{ClientError, Room, SendOptions, Target, crypto::SecretBytes, expiry::ExpiryClass};

/// The most keys remembered at once.
const KEYS_MAX: usize = 10_000;

/// A message about a key.
#[derive(Clone)]
pub struct Post {
    /// `msgtype`, `body` and so on, as in `m.room.message`.
    pub content: JsonObject,
    /// How long it lives.
    pub expiry: Option<ExpiryClass>,
    /// Whether nothing more will come about this key until it all begins anew.
    pub last: bool,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post")
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// What [`Outbox::put`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// A message was queued.
    New,
    /// A change of an earlier message was queued.
    Edit,
    /// The message says the same as before: nothing was queued.
    Unchanged,
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// So many keys are open that no more are remembered.
    #[error("more than {KEYS_MAX} keys are open")]
    Full,
    /// The client failed.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What is known of a key.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    /// The message that is edited.
    transaction_id: OwnedTransactionId,
    /// SHA-256 of the newest content.
    digest: String,
    /// When it expires at the earliest, in milliseconds since the Unix epoch.
    dead_at_ms: Option<u64>,
    /// Nothing more comes about this key.
    last: bool,
}

impl Entry {
    fn is_dead(&self, now_ms: u64) -> bool {
        self.dead_at_ms.is_some_and(|at| at <= now_ms)
    }
}

/// One message per key, in one room.
#[derive(Debug)]
pub struct Outbox {
    room: Room,
    /// Where the entries are kept in the store.
    value: String,
    entries: Mutex<Entries>,
}

/// By SHA-256 of the key.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Entries(BTreeMap<String, Entry>);

impl fmt::Debug for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entries({})", self.0.len())
    }
}

impl Outbox {
    /// The outbox of that name, as it was left.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the store cannot be read.
    pub async fn open(room: Room, name: &str) -> Result<Self, ClientError> {
        let value = format!("outbox.{name}");
        let entries = match room.client().value(&value).await? {
            Some(kept) => serde_json::from_slice(kept.expose()).map_err(|_| ClientError::Decode)?,
            None => Entries::default(),
        };
        Ok(Self {
            room,
            value,
            entries: Mutex::new(entries),
        })
    }

    /// How many keys are open: a message was sent about them, and it was not the last.
    pub async fn open_keys(&self) -> usize {
        let now_ms = self.room.client().now_ms();
        let entries = self.entries.lock().await;
        entries
            .0
            .values()
            .filter(|entry| !entry.last && !entry.is_dead(now_ms))
            .count()
    }

    /// Queues a message about `key`: a new one, or a change of the earlier one. When this returns, it is on disk.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]; nothing was queued then.
    pub async fn put(&self, key: &str, post: Post) -> Result<Posted, OutboxError> {
        let now_ms = self.room.client().now_ms();
        let mut entries = self.entries.lock().await;
        let mut next = entries.clone();
        let mut forgotten = next.forget_dead(now_ms);
        let key = hex(key.as_bytes());
        let digest = hex(&serde_json::to_vec(&post.content).map_err(|_| ClientError::Encode)?);
        let known = next.0.get(&key);
        if known.is_some_and(|entry| entry.digest == digest && entry.last == post.last) {
            return Ok(Posted::Unchanged);
        }
        let earlier = match known.filter(|entry| !entry.last).cloned() {
            Some(entry) if self.can_be_changed(&entry).await? => Some(entry),
            _ => None,
        };
        if known.is_none() && next.0.len() >= KEYS_MAX {
            forgotten.push(next.forget_oldest_closed().ok_or(OutboxError::Full)?);
        }
        let transaction_id = self.room.client().new_transaction_id();
        let entry = Entry {
            transaction_id: earlier
                .as_ref()
                .map_or(&transaction_id, |e| &e.transaction_id)
                .clone(),
            digest,
            dead_at_ms: match &earlier {
                Some(earlier) => earlier.dead_at_ms,
                None => post
                    .expiry
                    .map(|class| now_ms.saturating_add(class.as_ms())),
            },
            last: post.last,
        };
        next.0.insert(key, entry);
        let kept = serde_json::to_vec(&next).map_err(|_| ClientError::Encode)?;
        let options = SendOptions {
            expiry: post.expiry,
            must_encrypt: true,
            target: earlier
                .clone()
                .map(|entry| Target::Queued(entry.transaction_id)),
            transaction_id: Some(transaction_id),
            keep_receipt: earlier.is_none(),
            forget_receipts: forgotten,
            values: vec![(self.value.clone(), Some(SecretBytes::new(kept)))],
        };
        let content = if earlier.is_some() {
            replacing(post.content)
        } else {
            post.content
        };
        self.room.queue("m.room.message", content, options).await?;
        *entries = next;
        Ok(if earlier.is_some() {
            Posted::Edit
        } else {
            Posted::New
        })
    }
}

impl Outbox {
    /// Whether the message is in the queue or with the server; one that the server refused is neither.
    async fn can_be_changed(&self, entry: &Entry) -> Result<bool, ClientError> {
        let target = Target::Queued(entry.transaction_id.clone());
        match self.room.client().resolve_target(target).await {
            Ok(_) => Ok(true),
            Err(ClientError::UnknownTarget) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Entries {
    /// Forgets what has expired.
    fn forget_dead(&mut self, now_ms: u64) -> Vec<OwnedTransactionId> {
        let dead: Vec<_> = self
            .0
            .extract_if(.., |_, entry| entry.is_dead(now_ms))
            .map(|(_, entry)| entry.transaction_id)
            .collect();
        dead
    }

    /// Makes room by forgetting a key about which nothing more comes.
    fn forget_oldest_closed(&mut self) -> Option<OwnedTransactionId> {
        let closed = self.0.iter().filter(|(_, entry)| entry.last);
        let oldest = closed.min_by_key(|(_, entry)| entry.dead_at_ms);
        let key = oldest.map(|(key, _)| key.clone())?;
        self.0.remove(&key).map(|entry| entry.transaction_id)
    }
}

/// The content of an edit; what it relates to is added when the queue sends it.
fn replacing(content: JsonObject) -> JsonObject {
    let mut edit = content.clone();
    if let Some(Value::String(body)) = edit.get_mut("body") {
        body.insert_str(0, "* ");
    }
    if let Some(Value::String(body)) = edit.get_mut("formatted_body") {
        body.insert_str(0, "* ");
    }
    edit.insert("m.new_content".to_owned(), Value::Object(content));
    edit.insert("m.relates_to".to_owned(), json!({"rel_type": "m.replace"}));
    edit
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
