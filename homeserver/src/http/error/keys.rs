//! The errors of encryption keys and of messages to devices to status and errcode.
//!
//! Invariant: no message repeats a key, an id or a signature.

use http::StatusCode;
use ruma::api::error::ErrorKind;
use serde_json::json;

use super::ApiError;
use crate::accounts::{ToDeviceError, keys::KeysError};

impl ApiError {
    /// An error with an errcode that ruma has no name for.
    pub fn with_errcode(status: StatusCode, errcode: &str, message: impl Into<String>) -> Self {
        let kind = serde_json::from_value(json!({ "errcode": errcode }));
        Self::new(status, kind.unwrap_or(ErrorKind::Unknown), message)
    }

    /// 400 `M_INVALID_SIGNATURE`.
    pub fn invalid_signature() -> Self {
        let message = "A signature is missing or wrong";
        Self::with_errcode(StatusCode::BAD_REQUEST, "M_INVALID_SIGNATURE", message)
    }
}

impl From<KeysError> for ApiError {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::Malformed(what) => Self::invalid_param(format!("Malformed keys: {what}")),
            KeysError::NotYours => Self::invalid_param("The keys are of another user or device"),
            KeysError::InvalidSignature => Self::invalid_signature(),
            KeysError::NoMasterKey => Self::missing_param("There is no master key"),
            KeysError::SameName => {
                Self::forbidden("A device and a cross-signing key may not have the same name")
            }
            KeysError::KeyIdTaken => Self::invalid_param("A key id is taken by another key"),
            KeysError::TooMany => Self::invalid_param("Too many keys"),
            KeysError::DeviceExists => Self::invalid_param("There is a device of that id already"),
            KeysError::NoDevice => Self::unknown_token(false),
            KeysError::Store(error) => error.into(),
        }
    }
}

impl From<ToDeviceError> for ApiError {
    fn from(error: ToDeviceError) -> Self {
        match error {
            ToDeviceError::TooLarge => Self::too_large(),
            ToDeviceError::Store(error) => error.into(),
        }
    }
}
