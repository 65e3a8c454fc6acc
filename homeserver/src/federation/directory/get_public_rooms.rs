//! `GET /_matrix/federation/v1/publicRooms`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1publicrooms>

use axum::{extract::State, response::Response};
use ruma::api::federation::directory::get_public_rooms::v1::Request;

use super::list;
use crate::{
    app::App,
    http::{error::ApiError, origin::Signed},
    rooms::DirectoryQuery,
};

/// The published rooms, by pages.
pub(crate) async fn get_public_rooms(
    State(app): State<App>,
    Signed { origin, request }: Signed<Request>,
) -> Result<Response, ApiError> {
    let query = DirectoryQuery {
        limit: request.limit,
        since: request.since,
        network: request.room_network,
        ..DirectoryQuery::default()
    };
    list(&app, &origin, &query).await
}
