//! What can go wrong in a client.
//!
//! Invariant: no variant's text names a user, a room or a device, or shows what anybody wrote.

use crate::{
    crypto::{AttachmentError, CryptoError, KeyExportError, SecretStorageError},
    http::{HttpError, HttpSetupError},
    store::StoreError,
};

/// Why the client could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection cannot be prepared.
    #[error(transparent)]
    Setup(#[from] HttpSetupError),
    /// The server was not reached, or refused.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no secret storage.
    #[error("there is no secret storage")]
    NoSecretStorage,
    /// The secret storage cannot be opened, or was tampered with.
    #[error(transparent)]
    SecretStorage(#[from] SecretStorageError),
    /// A file of keys cannot be read.
    #[error(transparent)]
    KeyExport(#[from] KeyExportError),
    /// A message did not reach the server in time.
    #[error("the message did not reach the server")]
    NotSent,
    /// The crypto machine failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// A file could not be encrypted, or is not what its sender encrypted.
    #[error(transparent)]
    Attachment(#[from] AttachmentError),
    /// Nobody is logged in.
    #[error("not logged in")]
    NotLoggedIn,
    /// The access token expired and cannot be renewed: log in again, as the same device.
    #[error("the session has expired: log in again")]
    SoftLoggedOut,
    /// The server says that the session no longer exists.
    #[error("the session was ended by the server")]
    SessionEnded,
    /// A sync is running already.
    #[error("a sync is running already")]
    AlreadySyncing,
    /// The builder was not told something that it needs.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something cannot be serialised.
    #[error("a value cannot be written as JSON")]
    Encode,
    /// Something in the store cannot be read.
    #[error("a value in the store cannot be read")]
    Decode,
    /// The send queue is full.
    #[error("the send queue is full")]
    QueueFull,
    /// A message to edit is neither in the queue nor was its ID kept.
    #[error("the message to change is not known")]
    UnknownTarget,
}
