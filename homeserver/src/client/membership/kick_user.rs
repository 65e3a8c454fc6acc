//! `POST /_matrix/client/v3/rooms/{roomId}/kick`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidkick>

use axum::extract::State;
use ruma::api::client::membership::kick_user::v3;

use super::content;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    rooms::MembershipChange,
};

/// Puts somebody out of a room.
pub(crate) async fn kick_user_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let content = content("leave", request.reason.as_deref());
    let change = MembershipChange {
        room_id: request.room_id,
        sender: requester.user_id,
        user: request.user_id,
        content,
    };
    app.rooms.set_membership(change).await?;
    Ok(RumaResponse(v3::Response::new()))
}
