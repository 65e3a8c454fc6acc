//! The client-server API: one endpoint a file, at ruma's module path.
//!
//! Invariant: a handler decodes, authorises and answers; it decides nothing that another endpoint
//! would have to decide again.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/>

pub(crate) mod account;
pub(crate) mod admin;
pub(crate) mod alias;
pub(crate) mod backup;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod dehydrated_device;
pub(crate) mod device;
pub(crate) mod directory;
pub(crate) mod discovery;
pub(crate) mod filter;
pub(crate) mod keys;
pub(crate) mod knock;
pub(crate) mod media;
pub(crate) mod membership;
pub(crate) mod message;
pub(crate) mod presence;
pub(crate) mod profile;
pub(crate) mod push;
pub(crate) mod read_marker;
pub(crate) mod reading;
pub(crate) mod receipt;
pub(crate) mod redact;
pub(crate) mod relations;
pub(crate) mod reporting;
pub(crate) mod room;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod space;
pub(crate) mod state;
pub(crate) mod sync;
pub(crate) mod tag;
pub(crate) mod thirdparty;
pub(crate) mod threads;
pub(crate) mod to_device;
pub(crate) mod typing;
pub(crate) mod uiaa;
pub(crate) mod user;
pub(crate) mod user_directory;
pub(crate) mod voip;

#[cfg(test)]
mod tests;
