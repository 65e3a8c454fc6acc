//! The directory of published rooms.
//!
//! Invariant: only somebody with an account here makes this server ask another one.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#published-room-directory>

use axum::response::Response;
use http::StatusCode;
use ruma::{OwnedServerName, api::error::ErrorKind};

use crate::{
    app::App,
    http::{decode::serialized, error::ApiError, requester::Requester},
    outbound::RemoteError,
    rooms::DirectoryQuery,
};

pub(crate) mod get_public_rooms;
pub(crate) mod get_public_rooms_filtered;
pub(crate) mod get_room_visibility;
pub(crate) mod set_room_visibility;

/// A page of a directory: ours, or that of the server that is named.
async fn list(
    app: &App,
    requester: Option<&Requester>,
    server: Option<OwnedServerName>,
    query: DirectoryQuery,
) -> Result<Response, ApiError> {
    let remote = server.filter(|server| *server != app.config.server_name);
    let page = match remote {
        Some(server) => {
            requester.ok_or_else(ApiError::missing_token)?;
            let page = app.rooms.remote_directory(&server, query).await;
            page.map_err(|error| refuse(&error))?
        }
        None => app.rooms.directory(&query, None).await?,
    };
    serialized(&page)
}

fn refuse(error: &RemoteError) -> ApiError {
    match error {
        RemoteError::NotAllowed => {
            ApiError::forbidden("This server does not federate with that one")
        }
        RemoteError::Status { status, .. } if *status == StatusCode::FORBIDDEN => {
            ApiError::forbidden("That server does not show its directory")
        }
        RemoteError::Status { status, .. } if *status == StatusCode::BAD_REQUEST => {
            ApiError::invalid_param("That server does not understand the question")
        }
        _ => ApiError::new(
            StatusCode::BAD_GATEWAY,
            ErrorKind::Unknown,
            "That server could not be asked",
        ),
    }
}
