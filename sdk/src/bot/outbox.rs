//! One message per key, edited as what it tells of changes.
//!
//! Invariant: what the outbox knows of a key and the message in the send queue are written in one transaction. So after a crash
//! a [`put`](Outbox::put) either never happened, or its message is queued and the next one about this key edits it.
//!
//! A message that has expired, by the room's policy or sooner by its own wish, or that was the last about its key, is not edited any
//! more: the next one begins anew. What was refused for good counts as never said, so whoever says it again is heard.

use std::{collections::BTreeMap, fmt};

use ruma::{OwnedTransactionId, serde::JsonObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::{ClientError, Room, SendOptions, Target, crypto::SecretBytes, expiry::ExpiryClass};

/// The most keys remembered at once.
const KEYS_MAX: usize = 10_000;

/// How much of a text an edit repeats for clients that do not know edits, in bytes. The whole text is in it once already.
const FALLBACK_BYTES_MAX: usize = 1024;

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
    /// The newest message about the key: that one, or its newest edit.
    newest: OwnedTransactionId,
    /// SHA-256 of the newest content.
    digest: String,
    /// When the message that is edited was queued, in milliseconds since the Unix epoch.
    made_ms: u64,
    /// When it expires at the earliest, in milliseconds since the Unix epoch.
    dead_at_ms: Option<u64>,
    /// Nothing more comes about this key.
    last: bool,
}

impl Entry {
    fn is_dead(&self, now_ms: u64) -> bool {
        self.dead_at_ms.is_some_and(|at| at <= now_ms)
    }

    /// A message lives at most this long, as a policy says that came later.
    fn shorten(&mut self, longest: ExpiryClass) {
        let at_ms = self.made_ms.saturating_add(longest.as_ms());
        self.dead_at_ms = Some(self.dead_at_ms.map_or(at_ms, |dead| dead.min(at_ms)));
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
        let state = self.room.state();
        let lifetime = |wished| {
            let state = state.as_ref();
            state.map_or(wished, |state| state.lifetime(wished))
        };
        if let Some(longest) = state.as_ref().and_then(|state| state.longest_lifetime()) {
            next.0.values_mut().for_each(|entry| entry.shorten(longest));
        }
        let mut forgotten = next.forget_dead(now_ms);
        let key = hex(key.as_bytes());
        let digest = hex(&serde_json::to_vec(&post.content).map_err(|_| ClientError::Encode)?);
        let known = next.0.get(&key).cloned();
        if let Some(entry) = &known
            && entry.digest == digest
            && entry.last == post.last
            && self.is_kept(&entry.newest).await?
        {
            return Ok(Posted::Unchanged);
        }
        let earlier = match known.clone().filter(|entry| !entry.last) {
            Some(entry) if self.is_kept(&entry.transaction_id).await? => Some(entry),
            _ => None,
        };
        forgotten.extend(superseded(known.as_ref(), earlier.is_some()));
        if known.is_none() && next.0.len() >= KEYS_MAX {
            forgotten.extend(next.forget_oldest_closed().ok_or(OutboxError::Full)?);
        }
        let transaction_id = self.room.client().new_transaction_id();
        let entry = Entry {
            transaction_id: earlier
                .as_ref()
                .map_or(&transaction_id, |e| &e.transaction_id)
                .clone(),
            newest: transaction_id.clone(),
            digest,
            made_ms: earlier.as_ref().map_or(now_ms, |earlier| earlier.made_ms),
            dead_at_ms: match &earlier {
                Some(earlier) => earlier.dead_at_ms,
                None => lifetime(post.expiry).map(|class| now_ms.saturating_add(class.as_ms())),
            },
            last: post.last,
        };
        next.0.insert(key, entry);
        let kept = serde_json::to_vec(&next).map_err(|_| ClientError::Encode)?;
        let (content, posted) = match &earlier {
            Some(_) => (replacing(post.content), Posted::Edit),
            None => (post.content, Posted::New),
        };
        let options = SendOptions {
            expiry: post.expiry,
            must_encrypt: true,
            target: earlier.map(|entry| Target::Queued(entry.transaction_id)),
            transaction_id: Some(transaction_id),
            keep_receipt: true,
            forget_receipts: forgotten,
            values: vec![(self.value.clone(), Some(SecretBytes::new(kept)))],
        };
        self.room.queue("m.room.message", content, options).await?;
        *entries = next;
        Ok(posted)
    }
}

impl Outbox {
    /// Whether the message is in the queue or with the server; one that the server refused is neither.
    async fn is_kept(&self, transaction_id: &OwnedTransactionId) -> Result<bool, ClientError> {
        let target = Target::Queued(transaction_id.clone());
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
        let dead = self.0.extract_if(.., |_, entry| entry.is_dead(now_ms));
        dead.flat_map(|(_, entry)| [entry.transaction_id, entry.newest])
            .collect()
    }

    /// Makes room by forgetting a key about which nothing more comes.
    fn forget_oldest_closed(&mut self) -> Option<[OwnedTransactionId; 2]> {
        let closed = self.0.iter().filter(|(_, entry)| entry.last);
        let oldest = closed.min_by_key(|(_, entry)| entry.dead_at_ms);
        let key = oldest.map(|(key, _)| key.clone())?;
        let entry = self.0.remove(&key)?;
        Some([entry.transaction_id, entry.newest])
    }
}

/// Messages of which nothing more need be known once there is a newer one about their key, an edit of the first or a new first.
fn superseded(known: Option<&Entry>, edited: bool) -> Vec<OwnedTransactionId> {
    let Some(known) = known else {
        return Vec::new();
    };
    let mut names = vec![known.newest.clone(), known.transaction_id.clone()];
    names.retain(|name| !edited || *name != known.transaction_id);
    names
}

/// The content of an edit; what it relates to is added when the queue sends it. Clients that know edits show `m.new_content` alone, so
/// what stands beside it is kept short: both together must fit an event.
fn replacing(content: JsonObject) -> JsonObject {
    let mut edit = content.clone();
    if let Some(Value::String(body)) = edit.get_mut("body") {
        if body.len() > FALLBACK_BYTES_MAX {
            body.truncate(body.floor_char_boundary(FALLBACK_BYTES_MAX));
            body.push('…');
        }
        body.insert_str(0, "* ");
    }
    let html = edit.get("formatted_body").and_then(Value::as_str);
    // HTML that is cut anywhere is no HTML.
    if html.is_some_and(|html| html.len() > FALLBACK_BYTES_MAX) {
        edit.remove("formatted_body");
        edit.remove("format");
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
