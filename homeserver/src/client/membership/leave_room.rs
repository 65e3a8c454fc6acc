//! `POST /_matrix/client/v3/rooms/{roomId}/leave`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave>

use axum::extract::State;
use ruma::api::client::membership::leave_room::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Leaves a room, or refuses an invite.
pub(crate) async fn leave_room_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let reason = request.reason.as_deref();
    app.rooms
        .leave(&request.room_id, &requester.user_id, reason)
        .await?;
    Ok(RumaResponse(v3::Response::new()))
}
