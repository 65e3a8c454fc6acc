//! `PUT /_matrix/client/v3/directory/room/{roomAlias}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directoryroomroomalias>

use axum::extract::State;
use ruma::api::client::alias::create_alias::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Makes a local alias for a room that the user is in.
pub(crate) async fn create_alias_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    if request.room_alias.server_name() != app.config.server_name {
        return Err(ApiError::invalid_param(
            "The alias belongs to another server",
        ));
    }
    let snapshot = app.rooms.snapshot(&request.room_id).await?;
    if !snapshot.is_some_and(|snapshot| snapshot.members.is_joined(&requester.user_id)) {
        return Err(ApiError::forbidden("You are not in this room"));
    }
    if !app
        .rooms
        .make_alias(request.room_alias, request.room_id, requester.user_id)
        .await?
    {
        return Err(ApiError::room_in_use());
    }
    Ok(RumaResponse(v3::Response::new()))
}
