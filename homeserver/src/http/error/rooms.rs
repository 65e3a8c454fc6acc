//! The errors of rooms to status and errcode.
//!
//! Invariant: a room that does not exist and a room that the user is not in give the same answer, but
//! to those who would upgrade one.

use http::StatusCode;
use ruma::api::error::ErrorKind;

use super::ApiError;
use crate::{
    outbound::RemoteError,
    rooms::{CreateError, DirectoryError, HierarchyError, JoinError, SendError, UpgradeError},
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
            SendError::DuplicateAnnotation => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::DuplicateAnnotation,
                "You have done this before",
            ),
            SendError::UnknownEvent => Self::not_found("There is no such event in this room"),
            SendError::Unplaced | SendError::Busy => Self::busy(),
            SendError::Storage | SendError::Damaged => Self::internal(),
        }
    }
}

impl From<UpgradeError> for ApiError {
    fn from(error: UpgradeError) -> Self {
        match error {
            UpgradeError::UnsupportedVersion => Self::unsupported_version(),
            UpgradeError::Send(SendError::UnknownRoom) => {
                Self::not_found("There is no such room here")
            }
            UpgradeError::Send(error) => error.into(),
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::UnsupportedVersion => Self::unsupported_version(),
            CreateError::AliasTaken => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::RoomInUse,
                "The alias is taken",
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

impl ApiError {
    /// 400 `M_BAD_ALIAS`: an alias does not lead to the room.
    pub fn bad_alias() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::BadAlias,
            "An alias does not lead to this room",
        )
    }

    /// 403 `M_SERVER_NOT_TRUSTED`: what needs an identity server, of which this server has none.
    pub fn no_identity_server() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            ErrorKind::ServerNotTrusted,
            "This server works with no identity server",
        )
    }

    fn unsupported_version() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::UnsupportedRoomVersion,
            "The version of the room is not supported",
        )
    }

    /// What other servers said to a membership, or that they said nothing.
    fn from_remote(error: Option<&RemoteError>) -> Self {
        let errcode = error.and_then(RemoteError::errcode);
        match errcode {
            Some("M_INVITE_BLOCKED") => return JoinError::InviteBlocked.into(),
            Some("M_INCOMPATIBLE_ROOM_VERSION" | "M_UNSUPPORTED_ROOM_VERSION") => {
                return Self::unsupported_version();
            }
            Some("M_UNABLE_TO_AUTHORISE_JOIN") => return JoinError::UnableToAuthorise.into(),
            Some("M_UNABLE_TO_GRANT_JOIN") => return JoinError::UnableToGrant.into(),
            _ => {}
        }
        match error {
            Some(RemoteError::Status { status, .. }) if *status == StatusCode::FORBIDDEN => {
                Self::forbidden("The other server does not allow it")
            }
            Some(RemoteError::Status { status, .. }) if *status == StatusCode::NOT_FOUND => {
                Self::not_found("The room's server does not know the room")
            }
            Some(RemoteError::NotAllowed) => {
                Self::forbidden("This server does not federate with the other one")
            }
            None => Self::not_found("No server is known that is in this room"),
            Some(_) => Self::new(
                StatusCode::BAD_GATEWAY,
                ErrorKind::Unknown,
                "The other server could not be reached",
            ),
        }
    }
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        let refuse =
            |kind: ErrorKind, message: &str| Self::new(StatusCode::BAD_REQUEST, kind, message);
        match error {
            JoinError::NoServer(error) => Self::from_remote(error.as_ref()),
            JoinError::UnsupportedVersion => Self::unsupported_version(),
            JoinError::BadAnswer => Self::new(
                StatusCode::BAD_GATEWAY,
                ErrorKind::Unknown,
                "The room's server gave an answer that does not hold",
            ),
            JoinError::InviteBlocked => Self::new(
                StatusCode::FORBIDDEN,
                ErrorKind::InviteBlocked,
                "This person does not want to be invited",
            ),
            JoinError::UnableToAuthorise => refuse(
                ErrorKind::UnableToAuthorizeJoin,
                "It cannot be seen from here whether this user may join",
            ),
            JoinError::UnableToGrant => refuse(
                ErrorKind::UnableToGrantJoin,
                "Nobody here may let this user in",
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
