//! `GET /_matrix/client/v3/rooms/{roomId}/aliases`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidaliases>

use axum::extract::State;
use ruma::api::client::room::aliases::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// The local aliases of a room that the user is in, or that anybody may read.
pub(crate) async fn aliases_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let forbidden = || ApiError::forbidden("You are not in this room");
    let snapshot = app.rooms.snapshot(&request.room_id).await?;
    let snapshot = snapshot.ok_or_else(forbidden)?;
    let is_told = snapshot.members.is_joined(&requester.user_id)
        || app.rooms.summary(&snapshot).await?.world_readable;
    if !is_told {
        return Err(forbidden());
    }
    let aliases = app.store.aliases_of(&request.room_id).await?;
    Ok(RumaResponse(v3::Response::new(aliases)))
}
