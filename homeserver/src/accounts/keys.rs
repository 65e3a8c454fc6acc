//! Public encryption keys: uploading, asking for and signing them, and giving out one-time keys.
//!
//! Invariant: the server holds public keys and ciphertext only. What it stores was checked: the
//! owner, the form, the size and the signatures. What another server answers is only believed
//! about that server's own users.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption>

use std::sync::Arc;

use ruma::{OwnedServerName, UserId};

use crate::store::{KeyUpload, Store, StoreError};

mod check;
mod claim;
mod cross_signing;
mod dehydrated;
mod query;
mod remote;
mod signatures;
mod upload;

pub use self::{
    claim::{ClaimAnswer, ClaimedKeys, Claims},
    cross_signing::SigningKeysUpload,
    dehydrated::NewDehydratedDevice,
    query::{KeyQuery, QueryAnswer},
    remote::{
        Answering, RemoteClaims, RemoteKeys, RemoteKeysError, RemoteOneTimeKeys, RemoteUserKeys,
    },
    signatures::SignatureFailures,
    upload::Upload,
};

/// Public keys of local users, and the way to those of others.
#[derive(Debug)]
pub struct Keys {
    store: Arc<Store>,
    server_name: OwnedServerName,
    remote: Arc<dyn RemoteKeys>,
}

impl Keys {
    /// The keys in `store`, and those that other servers have.
    pub fn new(
        store: Arc<Store>,
        server_name: OwnedServerName,
        remote: Arc<dyn RemoteKeys>,
    ) -> Self {
        Self {
            store,
            server_name,
            remote,
        }
    }

    fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.server_name
    }
}

/// Why keys are refused.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A key object is not of the form that it must have, or too long.
    #[error("malformed keys: {0}")]
    Malformed(&'static str),
    /// A key object belongs to another user or device.
    #[error("keys of another user or device")]
    NotYours,
    /// A signature is missing or wrong.
    #[error("a signature is missing or wrong")]
    InvalidSignature,
    /// There is no master key, neither in the request nor before it.
    #[error("no master key")]
    NoMasterKey,
    /// A device and a cross-signing key of one user have the same name.
    #[error("a device and a cross-signing key have the same name")]
    SameName,
    /// A key id is taken by another key.
    #[error("a key id is taken by another key")]
    KeyIdTaken,
    /// The device keeps too many keys.
    #[error("too many keys")]
    TooMany,
    /// A client has logged in with a device of that id.
    #[error("there is a device of that id")]
    DeviceExists,
    /// The device was deleted meanwhile.
    #[error("the device is gone")]
    NoDevice,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl KeysError {
    fn from_upload(outcome: KeyUpload) -> Result<(), Self> {
        match outcome {
            KeyUpload::Stored => Ok(()),
            KeyUpload::KeyIdTaken => Err(Self::KeyIdTaken),
            KeyUpload::TooMany => Err(Self::TooMany),
            KeyUpload::NamedLikeKey => Err(Self::SameName),
            KeyUpload::NoDevice => Err(Self::NoDevice),
        }
    }
}
