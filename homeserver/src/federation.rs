//! The server-server API: one endpoint a file, at ruma's module path.
//!
//! Invariant: whatever a peer says is checked before it is used; a peer is told only what it may
//! know.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/>

pub(crate) mod authenticated_media;
pub(crate) mod authorization;
pub(crate) mod backfill;
pub(crate) mod device;
pub(crate) mod directory;
pub mod discovery;
pub(crate) mod event;
pub(crate) mod expiry;
pub(crate) mod keys;
pub(crate) mod membership;
pub(crate) mod openid;
pub(crate) mod query;
pub(crate) mod space;
pub(crate) mod thirdparty;
pub(crate) mod transactions;

#[cfg(test)]
mod tests;
