//! The directory of published rooms, for other servers.

use axum::response::Response;
use ruma::ServerName;

use crate::{
    app::App,
    http::{decode::serialized, error::ApiError},
    rooms::DirectoryQuery,
};

pub(crate) mod get_public_rooms;
pub(crate) mod get_public_rooms_filtered;

/// A page of our directory for a server.
async fn list(
    app: &App,
    origin: &ServerName,
    query: &DirectoryQuery,
) -> Result<Response, ApiError> {
    serialized(&app.rooms.directory(query, Some(origin)).await?)
}
