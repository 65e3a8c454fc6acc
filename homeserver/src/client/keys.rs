//! Encryption keys.
//!
//! Invariant: see `accounts/keys.rs`; nothing is decided here.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#key-management-api>

pub(crate) mod claim_keys;
pub(crate) mod get_key_changes;
pub(crate) mod get_keys;
pub(crate) mod upload_keys;
pub(crate) mod upload_signatures;
pub(crate) mod upload_signing_keys;
