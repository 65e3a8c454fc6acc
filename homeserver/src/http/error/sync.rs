//! The errors of sync to status and errcode.
//!
//! Invariant: a token that is not ours is the client's mistake, never ours.

use super::ApiError;
use crate::sync::{SyncError, filter::FilterError, token::TokenError};

impl From<SyncError> for ApiError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Token(error) => error.into(),
            SyncError::Filter(error) => error.into(),
            SyncError::Store(error) => error.into(),
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(_: TokenError) -> Self {
        Self::invalid_param("This token is not one of this server's")
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        match error {
            FilterError::TooLong => Self::invalid_param("A list of the filter is too long"),
        }
    }
}
