//! The errors of federation to status and errcode.
//!
//! Invariant: a room that this server is not in, and one that the peer may not know of, look alike.

use http::StatusCode;
use ruma::api::error::ErrorKind;

use super::ApiError;
use crate::rooms::{HostError, JoinError, ReceiveError, ServeError};

impl From<ServeError> for ApiError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Unknown => Self::not_found("Unknown to this server"),
            ServeError::Forbidden => Self::forbidden("Your server is not in this room"),
            ServeError::Storage => Self::internal(),
        }
    }
}

impl From<HostError> for ApiError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::UnknownRoom => Self::not_found("This server is not in the room"),
            HostError::Mismatch => Self::invalid_param("The event is not what the request says"),
            HostError::Incompatible(version) => Self::incompatible(
                version,
                "Your server does not support the version of this room",
            ),
            HostError::InviteBlocked => JoinError::InviteBlocked.into(),
            HostError::ExpiryRequired => JoinError::ExpiryRequired.into(),
            HostError::UnableToAuthorise => JoinError::UnableToAuthorise.into(),
            HostError::UnableToGrant => JoinError::UnableToGrant.into(),
            // These endpoints take one event, which then is a parameter that does not hold.
            HostError::Receive(ReceiveError::Dropped(reason)) => {
                Self::invalid_param(reason.check())
            }
            HostError::Forbidden => Self::forbidden("The room does not allow it"),
            // The peer has just made it on what the room had: nothing of it can be on its way still.
            HostError::Receive(ReceiveError::Unplaced) => {
                Self::invalid_param("What the event refers to cannot be had")
            }
            HostError::Receive(error) => error.into(),
        }
    }
}

impl From<ReceiveError> for ApiError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::UnknownRoom => Self::not_found("This server is not in the room"),
            ReceiveError::Denied => Self::forbidden("Your server is not allowed in this room"),
            ReceiveError::Rejected => Self::forbidden("The room does not allow it"),
            ReceiveError::Json(_) => Self::bad_json("The event is malformed"),
            ReceiveError::Dropped(reason) => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::BadJson, reason.check())
            }
            ReceiveError::OtherRoom => Self::invalid_param("The event belongs to another room"),
            ReceiveError::Unplaced | ReceiveError::Busy => Self::busy(),
            ReceiveError::Storage | ReceiveError::Damaged => Self::internal(),
        }
    }
}
