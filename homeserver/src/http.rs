//! Between HTTP and the rest: bytes to typed requests, tokens and signatures to callers, errors to
//! status and errcode.
//!
//! Invariant: whoever holds a [`decode::Ruma`] has a well-formed request of bounded size; nothing
//! about the wire is decided below this layer.

pub mod cors;
pub mod decode;
pub mod edge;
pub mod error;
pub mod log;
pub mod metrics;
pub mod nonce;
pub mod observe;
pub mod origin;
pub mod peer;
pub mod rate_limit;
pub mod requester;
pub mod route;
pub mod token;
pub mod turns;
pub mod uia;
