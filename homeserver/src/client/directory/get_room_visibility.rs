//! `GET /_matrix/client/v3/directory/list/room/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid>

use axum::extract::State;
use ruma::api::client::{directory::get_room_visibility::v3, room::Visibility};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
};

/// Whether a room is published.
pub(crate) async fn get_room_visibility_route(
    State(app): State<App>,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    if app.rooms.snapshot(&request.room_id).await?.is_none() {
        return Err(ApiError::not_found("There is no such room here"));
    }
    let visibility = match app.rooms.is_published(&request.room_id).await? {
        true => Visibility::Public,
        false => Visibility::Private,
    };
    Ok(RumaResponse(v3::Response::new(visibility)))
}
