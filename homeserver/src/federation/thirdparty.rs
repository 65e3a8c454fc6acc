//! Invites by third-party identifiers.

pub(crate) mod bind_callback;
pub(crate) mod exchange_invite;
