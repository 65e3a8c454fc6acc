//! A client of Matrix homeservers whose messages are encrypted end to end and expire.
//!
//! In reading order: [`clock`] (time and randomness as parameters) and `http` (the wire).

pub mod clock;
pub mod crypto;
pub mod expiry;
pub mod http;
pub mod store;
