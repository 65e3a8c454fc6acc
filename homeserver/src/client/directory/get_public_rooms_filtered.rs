//! `POST /_matrix/client/v3/publicRooms`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3publicrooms>

use axum::{extract::State, response::Response};
use ruma::api::client::directory::get_public_rooms_filtered::v3;

use super::list;
use crate::{
    app::App,
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::DirectoryQuery,
};

/// Those of the published rooms that match, by pages.
pub(crate) async fn get_public_rooms_filtered_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let query = DirectoryQuery {
        limit: request.limit,
        since: request.since,
        filter: request.filter,
        network: request.room_network,
    };
    list(&app, Some(&requester), request.server, query).await
}
