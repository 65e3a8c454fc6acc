//! The errors of accounts to status and errcode.
//!
//! Invariant: an unknown account and a wrong password give the same answer.

use http::StatusCode;
use ruma::api::error::{ErrorKind, LimitExceededErrorData, RetryAfter};

use super::ApiError;
use crate::{
    accounts::{LoginError, PasswordError, RefreshError, RegistrationError},
    http::token::SigningError,
};

/// When to come again if too many passwords wait to be hashed.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(2);

impl ApiError {
    /// 429 `M_LIMIT_EXCEEDED`.
    pub fn busy() -> Self {
        let mut data = LimitExceededErrorData::new();
        data.retry_after = Some(RetryAfter::Delay(RETRY_AFTER));
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::LimitExceeded(data),
            "The server is busy",
        )
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::busy(),
            PasswordError::TooLong => Self::invalid_param("The password is too long"),
            PasswordError::TooShort => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::WeakPassword,
                "The password must have at least 8 characters",
            ),
            PasswordError::Store(error) => error.into(),
            PasswordError::Hashing => {
                tracing::error!("a password could not be hashed, or a stored hash is unreadable");
                Self::internal()
            }
        }
    }
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Refused => Self::forbidden("Invalid username or password"),
            LoginError::Locked => Self::user_locked(),
            LoginError::Deactivated => Self::new(
                StatusCode::FORBIDDEN,
                ErrorKind::UserDeactivated,
                "This account has been deactivated",
            ),
            LoginError::InvalidDevice => Self::invalid_param("The device id is not valid"),
            LoginError::Password(error) => error.into(),
            LoginError::Store(error) => error.into(),
        }
    }
}

impl From<RegistrationError> for ApiError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::InvalidUsername => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::InvalidUsername,
                "A username consists of a-z, 0-9 and . _ = - / +",
            ),
            RegistrationError::InUse => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::UserInUse,
                "The username is taken",
            ),
            RegistrationError::TokenRefused => {
                Self::forbidden("The registration token is not valid")
            }
            RegistrationError::Login(error) => error.into(),
            RegistrationError::Password(error) => error.into(),
            RegistrationError::Store(error) => error.into(),
        }
    }
}

impl From<RefreshError> for ApiError {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::Gone => Self::unknown_token(false),
            RefreshError::Dropped => Self::unknown_token(true),
            RefreshError::Locked => Self::user_locked(),
            RefreshError::Store(error) => error.into(),
        }
    }
}

impl From<SigningError> for ApiError {
    fn from(error: SigningError) -> Self {
        tracing::error!(%error, "a token could not be issued");
        Self::internal()
    }
}
