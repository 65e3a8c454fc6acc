//! The Passeur homeserver, in reading order from the wire down to the disk.
//!
//! Invariant: a module uses only those below it in this list (`tests/it/tidy.rs` checks it).

pub mod cli;
pub mod server;

pub mod app;
pub mod listener;
pub mod router;

pub mod client;
pub mod federation;

pub mod http;

pub mod sync;

pub mod accounts;
pub mod media;
pub mod outbound;
pub mod rooms;

pub mod store;

pub mod config;
pub mod key_files;

pub mod clock;
pub mod drain;
