//! Strict reading of untrusted JSON.
//!
//! Invariant: whatever passes is UTF-8, has no duplicate key, is bounded in size and depth, and, for events, holds no
//! number that canonical JSON cannot hold. Memory is bounded by the size of the input.
//!
//! Specification: <https://spec.matrix.org/v1.19/appendices/#canonical-json>.

use ruma::CanonicalJsonObject;
use serde_json::value::RawValue;

use crate::limits::{JSON_DEPTH_MAX, PDU_BYTES_MAX, TRANSACTION_DEPTH_MAX};

mod canonical;
mod read;
mod span;

pub(crate) use span::top_level;

/// Why bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// More bytes than allowed (`M_TOO_LARGE`).
    #[error("the JSON is larger than {bytes_max} bytes")]
    TooLarge {
        /// The bound that was exceeded, in bytes.
        bytes_max: usize,
    },
    /// Not UTF-8 (`M_NOT_JSON`).
    #[error("the JSON is not UTF-8")]
    NotUtf8,
    /// Not well-formed, or followed by more than white space (`M_NOT_JSON`).
    #[error("the JSON is not well-formed")]
    Syntax,
    /// A value other than an object where an object is wanted (`M_BAD_JSON`).
    #[error("the JSON is not an object")]
    NotAnObject,
    /// An object with the same key twice (`M_BAD_JSON`).
    #[error("the JSON has a duplicate key")]
    DuplicateKey,
    /// A fraction, an exponent, a negative zero, or an integer outside ±(2^53 − 1) (`M_BAD_JSON`).
    #[error("the JSON has a number that canonical JSON cannot hold")]
    Number,
    /// Nested deeper than `JSON_DEPTH_MAX` (`M_BAD_JSON`).
    #[error("the JSON is nested too deeply")]
    TooDeep,
}

impl JsonError {
    /// Whether the bytes were no JSON at all (`M_NOT_JSON`) rather than JSON that we refuse.
    pub fn is_not_json(self) -> bool {
        matches!(self, Self::NotUtf8 | Self::Syntax)
    }
}

/// Reads one object of canonical values from at most `bytes_max` bytes. The bytes themselves need not be canonical.
pub fn parse_object(bytes: &[u8], bytes_max: usize) -> Result<CanonicalJsonObject, JsonError> {
    read::object(checked_text(bytes, bytes_max)?)
}

/// Reads one event in federation format.
///
/// The bound is twice [`PDU_BYTES_MAX`], because a peer need not send it in its shortest form and may add `unsigned`;
/// the exact bound is checked on the canonical form.
pub fn parse_pdu(bytes: &[u8]) -> Result<CanonicalJsonObject, JsonError> {
    parse_object(bytes, 2 * PDU_BYTES_MAX)
}

/// Checks the body of a client's request without building it: UTF-8, well-formed, an object, no duplicate key, bounded
/// depth. Fractions pass, because some bodies carry them (the order of a tag); what becomes an event is checked again when
/// it is built.
pub fn check_client_json(bytes: &[u8], bytes_max: usize) -> Result<(), JsonError> {
    read::check(checked_text(bytes, bytes_max)?, JSON_DEPTH_MAX)
}

/// The canonical form of the body of a peer's request, as its signature covers it.
///
/// What a body carries is read strictly piece by piece, so that one bad piece stops no other; here numbers that canonical
/// JSON cannot hold pass, as their sender wrote them, and so does nesting of any depth (see [`check_peer_json`]).
pub fn canonical_body(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, JsonError> {
    let text = checked_text(bytes, bytes_max)?;
    // Nothing is built of it, and no depth overflows the stack.
    let whole: &RawValue = serde_json::from_str(text).map_err(|_| JsonError::Syntax)?;
    if !whole.get().starts_with('{') {
        return Err(JsonError::NotAnObject);
    }
    let mut canonical = Vec::with_capacity(text.len());
    canonical::write(whole.get(), &mut canonical)?;
    Ok(canonical)
}

/// Checks the body of a peer's request that is taken whole or not at all: as [`check_client_json`], with room for what lies
/// around an event of the greatest depth.
pub fn check_peer_json(bytes: &[u8], bytes_max: usize) -> Result<(), JsonError> {
    read::check(checked_text(bytes, bytes_max)?, TRANSACTION_DEPTH_MAX)
}

/// The canonical form of an object, as bytes.
///
/// The error is unreachable in practice: canonical values always serialise. It is passed on all the same.
pub fn to_canonical_bytes(object: &CanonicalJsonObject) -> Result<Vec<u8>, JsonError> {
    serde_json::to_vec(object).map_err(|_| JsonError::Syntax)
}

fn checked_text(bytes: &[u8], bytes_max: usize) -> Result<&str, JsonError> {
    if bytes.len() > bytes_max {
        return Err(JsonError::TooLarge { bytes_max });
    }
    std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)
}

#[cfg(test)]
mod tests;
