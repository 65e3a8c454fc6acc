//! Why an event was not taken.
//!
//! Invariant: printing a [`Reason`] names the check alone, never an identifier or a piece of the event, so that it may be
//! logged. The detail is for the tests and for the peer or the user whose event it is.

use std::fmt;

/// A failed check: which one, and its detail.
#[derive(Clone, PartialEq, Eq)]
pub struct Reason {
    /// The check that failed, in words that hold no data.
    check: &'static str,
    /// What exactly was wrong; may quote identifiers.
    detail: String,
}

impl Reason {
    /// A failure of `check`, with a `detail` that may quote identifiers and must not be logged.
    pub fn new(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            check,
            detail: detail.into(),
        }
    }

    /// The check that failed. Fit for a log.
    pub fn check(&self) -> &'static str {
        self.check
    }

    /// What was wrong. May quote identifiers: tell it to whoever sent the event, and do not log it.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.check)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reason").field(&self.check).finish()
    }
}

impl std::error::Error for Reason {}
