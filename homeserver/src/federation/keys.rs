//! Encryption keys of our users, for other servers.

pub(crate) mod claim_keys;
pub(crate) mod get_keys;
