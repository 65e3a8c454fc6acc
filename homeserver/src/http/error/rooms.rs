//! The errors of rooms to status and errcode.
//!
//! Invariant: a room that does not exist and a room that the user is not in give the same answer, but
//! to those who would upgrade one.

use std::time::Duration;

use http::StatusCode;
use ruma::{
    RoomVersionId,
    api::error::{ErrorKind, IncompatibleRoomVersionErrorData, LimitExceededErrorData, RetryAfter},
};
use serde_json::json;

use super::ApiError;
use crate::{
    outbound::{RemoteError, Said},
    rooms::{CreateError, DirectoryError, HierarchyError, JoinError, SendError, UpgradeError},
};

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::UnknownRoom => Self::forbidden("You are not in this room"),
            SendError::Forbidden(reason) | SendError::Rejected(reason) => Self::forbidden(reason),
            SendError::NotRecommended(error) => Self::verbatim(&error),
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
            SendError::NotAThreadRoot => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::Unknown,
                "A thread cannot begin at an event that relates to another",
            ),
            SendError::UnknownEvent => Self::not_found("There is no such event in this room"),
            SendError::Unplaced | SendError::Busy => Self::busy(),
            SendError::Storage | SendError::Damaged => Self::internal(),
        }
    }
}

impl ApiError {
    /// The error that another server answered with, as it stands.
    fn verbatim(error: &RemoteError) -> Self {
        let RemoteError::Status {
            status,
            errcode: Some(errcode),
            message,
            retry_after_ms,
            ..
        } = error
        else {
            return Self::forbidden("The room's policy server does not recommend this event");
        };
        let kind = match errcode.as_str() {
            "M_LIMIT_EXCEEDED" => {
                let mut data = LimitExceededErrorData::new();
                let pause = retry_after_ms.map(Duration::from_millis);
                data.retry_after = pause.map(RetryAfter::Delay);
                ErrorKind::LimitExceeded(data)
            }
            // A token of ours is not what that server speaks of.
            "M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN" | "M_USER_DEACTIVATED" => ErrorKind::Forbidden,
            code => {
                serde_json::from_value(json!({ "errcode": code })).unwrap_or(ErrorKind::Forbidden)
            }
        };
        let status = match *status {
            StatusCode::UNAUTHORIZED => StatusCode::FORBIDDEN,
            status if status.is_client_error() || status.is_server_error() => status,
            _ => StatusCode::FORBIDDEN,
        };
        let message = message.as_ref().map_or("", Said::as_str);
        Self::new(status, kind, message)
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

    /// 400 `M_INCOMPATIBLE_ROOM_VERSION`: the room's version is none that this server knows.
    pub(super) fn incompatible(version: RoomVersionId, message: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::IncompatibleRoomVersion(IncompatibleRoomVersionErrorData::new(version)),
            message,
        )
    }

    /// What other servers said to a membership, or that they said nothing.
    fn from_remote(error: Option<&RemoteError>) -> Self {
        let unreachable = || {
            Self::new(
                StatusCode::BAD_GATEWAY,
                ErrorKind::Unknown,
                "The other server could not be reached",
            )
        };
        match error {
            None => Self::not_found("No server is known that is in this room"),
            Some(RemoteError::NotAllowed) => {
                Self::forbidden("This server does not federate with the other one")
            }
            Some(RemoteError::Status {
                status,
                errcode,
                room_version,
                ..
            }) => refusal(*status, errcode.as_deref(), room_version.as_ref())
                .unwrap_or_else(unreachable),
            Some(_) => unreachable(),
        }
    }
}

/// What another server refused, as our client is told of it; nothing if the fault lies between the servers.
///
/// "The error should be passed through to clients so that they may give better feedback to users."
fn refusal(
    status: StatusCode,
    errcode: Option<&str>,
    version: Option<&RoomVersionId>,
) -> Option<ApiError> {
    let kind = match errcode {
        Some("M_INVITE_BLOCKED") => return Some(JoinError::InviteBlocked.into()),
        Some("M_UNABLE_TO_AUTHORISE_JOIN") => return Some(JoinError::UnableToAuthorise.into()),
        Some("M_UNABLE_TO_GRANT_JOIN") => return Some(JoinError::UnableToGrant.into()),
        Some("M_INCOMPATIBLE_ROOM_VERSION" | "M_UNSUPPORTED_ROOM_VERSION") => {
            let message = "This server does not support the version of the room";
            return Some(match version {
                Some(version) => ApiError::incompatible(version.clone(), message),
                None => ApiError::unsupported_version(),
            });
        }
        // What is wrong with our request is nothing that the client could mend.
        Some(
            "M_MISSING_PARAM" | "M_INVALID_PARAM" | "M_BAD_JSON" | "M_NOT_JSON" | "M_UNRECOGNIZED",
        ) => return None,
        Some(code) => serde_json::from_value(json!({ "errcode": code })).ok(),
        None => None,
    };
    match (status, kind) {
        (StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS, _) => None,
        (StatusCode::NOT_FOUND, None) => {
            Some(ApiError::not_found("The room's server does not know it"))
        }
        (StatusCode::FORBIDDEN, None) => {
            Some(ApiError::forbidden("The other server does not allow it"))
        }
        (_, Some(kind)) if status.is_client_error() => {
            Some(ApiError::new(status, kind, "The other server refuses"))
        }
        _ => None,
    }
}

impl From<JoinError> for ApiError {
    fn from(error: JoinError) -> Self {
        let refuse =
            |kind: ErrorKind, message: &str| Self::new(StatusCode::BAD_REQUEST, kind, message);
        match error {
            JoinError::NoServer(error) => Self::from_remote(error.as_ref()),
            JoinError::UnsupportedVersion(version) => Self::incompatible(
                version,
                "This server does not support the version of the room",
            ),
            JoinError::UnsupportedByInvitee => Self::unsupported_version(),
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
            JoinError::ExpiryRequired => {
                Self::forbidden("The room lets in only servers that destroy expired messages")
            }
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
