//! The errors of rooms to status and errcode.
//!
//! Invariant: a room that does not exist and a room that the user is not in give the same answer.

use http::StatusCode;
use ruma::api::error::ErrorKind;

use super::ApiError;
use crate::{
    outbound::RemoteError,
    rooms::{CreateError, DirectoryError, HierarchyError, JoinError, SendError},
};

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::UnknownRoom => Self::forbidden("You are not in this room"),
            SendError::Forbidden(reason) | SendError::Rejected(reason) => Self::forbidden(reason),
            SendError::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                ErrorKind::TooLarge,
                "An event may have 65536 bytes at most",
            ),
            SendError::Malformed(reason) => Self::bad_json(reason),
            SendError::UnknownEvent => Self::not_found("There is no such event in this room"),
            SendError::Unplaced | SendError::Busy => Self::busy(),
            SendError::Storage | SendError::Damaged => Self::internal(),
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::UnsupportedVersion => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::UnsupportedRoomVersion,
                "This server does not support that room version",
            ),
            CreateError::Send(SendError::Forbidden(reason)) => {
                Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidRoomState, reason)
            }
            CreateError::Send(error) => error.into(),
        }
    }
}

impl ApiError {
    /// 409 `M_ROOM_IN_USE`: the alias is taken.
    pub fn room_in_use() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            ErrorKind::RoomInUse,
            "The alias is taken",
        )
    }
}

impl From<DirectoryError> for ApiError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Token => Self::invalid_param("The token is not one of this server"),
            DirectoryError::Network => Self::invalid_param("This server knows no such network"),
            DirectoryError::Store(error) => error.into(),
        }
    }
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::NoServer(Some(RemoteError::Status { status, .. }))
                if status == StatusCode::FORBIDDEN =>
            {
                Self::forbidden("The room's server does not allow it")
            }
            JoinError::NoServer(Some(RemoteError::Status { status, .. }))
                if status == StatusCode::NOT_FOUND =>
            {
                Self::not_found("The room's server does not know the room")
            }
            JoinError::NoServer(Some(RemoteError::NotAllowed)) => {
                Self::forbidden("This server does not federate with the room's servers")
            }
            JoinError::NoServer(None) => Self::not_found("No server is known that is in this room"),
            JoinError::NoServer(Some(_)) => Self::new(
                StatusCode::BAD_GATEWAY,
                ErrorKind::Unknown,
                "No server of the room could be reached",
            ),
            JoinError::UnsupportedVersion => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::UnsupportedRoomVersion,
                "This server does not support the version of that room",
            ),
            JoinError::BadAnswer => Self::new(
                StatusCode::BAD_GATEWAY,
                ErrorKind::Unknown,
                "The room's server gave an answer that does not hold",
            ),
            JoinError::Send(error) => error.into(),
        }
    }
}

impl From<HierarchyError> for ApiError {
    fn from(error: HierarchyError) -> Self {
        match error {
            HierarchyError::Forbidden => Self::forbidden("You may not look at this room"),
            HierarchyError::Query => Self::invalid_param(
                "The limit is 0, or the token does not belong to a walk by these rules",
            ),
            HierarchyError::Store(error) => error.into(),
        }
    }
}
