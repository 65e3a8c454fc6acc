//! The store: one account's keys, tokens and queues, written in transactions.
//!
//! Invariant: a [`Batch`] is written altogether or not at all, and [`Store::commit`] returns only when it would survive a power
//! cut. The crypto machine's changes, the sync token and what was received go into one batch, so that a crash never separates
//! them. Nothing personal stands in an error.

use std::{future::Future, pin::Pin};

use ruma::{OwnedDeviceId, OwnedRoomId, OwnedServerName, OwnedTransactionId, OwnedUserId};
use serde::{Deserialize, Serialize};

use crate::crypto::{Changes, Record, SecretBytes};

#[cfg(test)]
mod conformance;
mod database;
#[cfg(test)]
mod gated;
mod memory;

#[cfg(test)]
pub(crate) use self::gated::GatedStore;
pub use self::{
    database::{DatabaseStore, StoreKey},
    memory::MemoryStore,
};

/// A future that a [`Store`] returns; boxed, so that a store can be a trait object.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Whose store it is. A store belongs to one account for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountBinding {
    /// The user's homeserver.
    pub server_name: OwnedServerName,
    /// The user.
    pub user_id: OwnedUserId,
    /// The device.
    pub device_id: OwnedDeviceId,
}

/// How far an outgoing event has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendState {
    /// Waiting: the body is the event as the program gave it.
    Queued,
    /// Encrypted: the body is what goes over the wire, and must be sent as it is, under the same transaction id.
    Encrypted,
    /// Refused for good: the body is kept so that the user can decide.
    Failed,
}

/// An outgoing event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendQueueItem {
    /// Its place in the queue: items are read in this order. Chosen by the caller, unique.
    pub id: i64,
    /// Where it goes.
    pub room_id: OwnedRoomId,
    /// The transaction id it is sent under, every time.
    pub txn_id: OwnedTransactionId,
    /// How far it has come.
    pub state: SendState,
    /// What the shell needs to go on: its own format.
    pub body: SecretBytes,
}

/// What the shell knows of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomEntry {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Whether it is encrypted. Once true it stays true, whatever is written later.
    pub encrypted: bool,
    /// The rest, in the shell's own format.
    pub body: SecretBytes,
}

/// Something received and not yet handled by the program, such as a decrypted to-device event: committed with the sync token, deleted
/// once handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxItem {
    /// Its place: items are read in this order. Chosen by the caller, unique.
    pub id: i64,
    /// What it is, in the shell's own format.
    pub body: SecretBytes,
}

/// Everything to write in one transaction.
#[derive(Debug, Clone, Default)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    /// The crypto machine's changes.
    pub crypto: Changes,
    /// Values to set, or with `None` to delete, by name: the sync token, access and refresh tokens, settings.
    pub values: Vec<(String, Option<SecretBytes>)>,
    /// Outgoing events to insert or replace.
    pub send_queue_put: Vec<SendQueueItem>,
    /// Outgoing events to delete, by id.
    pub send_queue_delete: Vec<i64>,
    /// Rooms to insert or replace.
    pub rooms: Vec<RoomEntry>,
    /// Received things to insert or replace.
    pub inbox_put: Vec<InboxItem>,
    /// Received things to delete, by id.
    pub inbox_delete: Vec<i64>,
}

impl From<Changes> for Batch {
    fn from(crypto: Changes) -> Self {
        Self {
            crypto,
            ..Self::default()
        }
    }
}

impl Batch {
    /// Adds a value to set.
    pub fn set(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.values
            .push((name.to_owned(), Some(SecretBytes::new(value.into()))));
        self
    }

    /// Adds a value to delete.
    pub fn unset(mut self, name: &str) -> Self {
        self.values.push((name.to_owned(), None));
        self
    }
}

/// What every store can do. Implementations must pass the same tests.
pub trait Store: Send + Sync {
    /// Whose store it is; `None` until [`bind`](Self::bind).
    fn account(&self) -> StoreFuture<'_, Option<AccountBinding>>;

    /// Makes the store this account's, or checks that it is.
    ///
    /// # Errors
    /// [`StoreError::WrongAccount`] if it belongs to another user, device or server.
    fn bind<'a>(&'a self, account: &'a AccountBinding) -> StoreFuture<'a, ()>;

    /// All records of the crypto machine.
    fn records(&self) -> StoreFuture<'_, Vec<Record>>;

    /// Writes a batch, altogether or not at all; when it returns, the batch is on disk.
    fn commit(&self, batch: Batch) -> StoreFuture<'_, ()>;

    /// A value by name.
    fn value<'a>(&'a self, name: &'a str) -> StoreFuture<'a, Option<SecretBytes>>;

    /// The outgoing events, in order.
    fn send_queue(&self) -> StoreFuture<'_, Vec<SendQueueItem>>;

    /// All rooms.
    fn rooms(&self) -> StoreFuture<'_, Vec<RoomEntry>>;

    /// The received things, in order.
    fn inbox(&self) -> StoreFuture<'_, Vec<InboxItem>>;

    /// Removes the traces of deleted rows from the files. Call it after a sweep that destroyed something.
    fn scrub(&self) -> StoreFuture<'_, ()>;

    /// Closes the files and lets others open them. The store answers [`StoreError::Closed`] from then on. A store that is only dropped
    /// closes a moment later, when nobody can wait for it.
    fn close(&self) -> StoreFuture<'_, ()>;

    /// Destroys everything, the key first. The store answers [`StoreError::Wiped`] from then on.
    fn wipe(&self) -> StoreFuture<'_, ()>;
}

/// Why the store cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The passphrase, or the key that was given, does not open this store.
    #[error(
        "the passphrase or key does not open this store: try another; without it nothing in the store can be read"
    )]
    WrongPassphrase,
    /// The store belongs to another account.
    #[error(
        "the store belongs to another server, user or device: log in as that device, or use another store"
    )]
    WrongAccount,
    /// A file is damaged, or was tampered with.
    #[error(
        "the store is damaged ({what}): restore a copy of all its files, or log in anew with another store"
    )]
    Damaged {
        /// Which part.
        what: &'static str,
    },
    /// The key file is missing while the database is there: it has been wiped, or copied without its key.
    #[error(
        "the store's key file is missing: put it back beside the database, or log in anew with another store"
    )]
    KeyMissing,
    /// The store was written by a newer version of this program.
    #[error(
        "the store was written by a newer version of this program: use that version; nothing has been changed"
    )]
    NewerSchema,
    /// Another process has the store open.
    #[error("another process has the store open: end it first")]
    Locked,
    /// The store has been closed.
    #[error("the store has been closed")]
    Closed,
    /// The store has been wiped.
    #[error("the store has been wiped")]
    Wiped,
    /// The key could not be derived, or no random bytes could be had.
    #[error("key derivation failed")]
    KeyDerivation,
    /// The file system refused.
    #[error("the file system refused: {0}")]
    Io(std::io::ErrorKind),
    /// The database refused.
    #[error("the database refused")]
    Database,
}
