//! The errors of media to status and errcode.
//!
//! Invariant: what the disk says is logged and not told.

use http::StatusCode;
use ruma::api::error::ErrorKind;

use super::ApiError;
use crate::media::{FetchError, ReserveError, ThumbnailError, UploadError};

impl From<ReserveError> for ApiError {
    fn from(error: ReserveError) -> Self {
        match error {
            ReserveError::TooMany => Self::busy(),
            ReserveError::Store(error) => error.into(),
        }
    }
}

impl From<FetchError> for ApiError {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::NotFound => Self::not_found("There are no such media"),
            FetchError::NotYetUploaded => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                ErrorKind::NotYetUploaded,
                "The media have not been uploaded yet",
            ),
            FetchError::TooLarge => Self::new(
                StatusCode::BAD_GATEWAY,
                ErrorKind::TooLarge,
                "The other server's media are too large",
            ),
            FetchError::Unreachable => Self::new(
                StatusCode::BAD_GATEWAY,
                ErrorKind::Unknown,
                "The server of these media gave no answer",
            ),
            FetchError::Busy => Self::busy(),
        }
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::TooLarge => Self::too_large(),
            UploadError::QuotaExceeded => Self::forbidden("No more media can be kept for you"),
            UploadError::NotReserved => Self::not_found("This id was not reserved"),
            UploadError::NotYours => Self::forbidden("This id was reserved by another user"),
            UploadError::Taken => Self::new(
                StatusCode::CONFLICT,
                ErrorKind::CannotOverwriteMedia,
                "This id has its media already",
            ),
            UploadError::Broken => Self::not_json("The upload did not arrive whole"),
            UploadError::Disk(error) => {
                tracing::error!(%error, "an upload could not be written");
                Self::internal()
            }
            UploadError::Store(error) => error.into(),
        }
    }
}

impl From<ThumbnailError> for ApiError {
    fn from(error: ThumbnailError) -> Self {
        match error {
            ThumbnailError::Size => Self::invalid_param("A thumbnail has a width and a height"),
            ThumbnailError::TooLarge => Self::too_large(),
            ThumbnailError::Busy => Self::busy(),
            ThumbnailError::Unreadable => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::Unknown,
                "There is no thumbnail of these media",
            ),
        }
    }
}
