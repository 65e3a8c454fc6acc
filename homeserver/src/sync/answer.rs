//! An answer, as bytes.
//!
//! Invariant: an answer that is not empty moves the token; an empty one may be thrown away and
//! asked for again.

use super::token::SyncToken;

/// The answer to a sync.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The JSON object.
    pub body: Vec<u8>,
    /// Its `next_batch`.
    pub token: SyncToken,
    /// Whether it tells nothing new.
    pub is_empty: bool,
}
