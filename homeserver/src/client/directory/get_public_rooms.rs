//! `GET /_matrix/client/v3/publicRooms`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3publicrooms>

use axum::{extract::State, response::Response};
use ruma::api::client::directory::get_public_rooms::v3;

use super::list;
use crate::{
    app::App,
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::DirectoryQuery,
};

/// The published rooms, by pages.
pub(crate) async fn get_public_rooms_route(
    State(app): State<App>,
    requester: Option<Requester>,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let query = DirectoryQuery {
        limit: request.limit,
        since: request.since,
        ..DirectoryQuery::default()
    };
    list(&app, requester.as_ref(), request.server, query).await
}
