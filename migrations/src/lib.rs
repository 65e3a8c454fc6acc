//! The tables of the server and of the SDK, and the only place that defines them.
//!
//! Invariant: a migration that has been released is never edited; a later one changes what it made
//! (expand first, contract in a later release: see the `README.md` of this crate).

#[cfg(feature = "sdk")]
pub mod sdk;
#[cfg(feature = "server")]
pub mod server;
