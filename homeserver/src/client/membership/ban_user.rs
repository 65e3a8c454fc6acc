//! `POST /_matrix/client/v3/rooms/{roomId}/ban`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidban>

use axum::extract::State;
use ruma::api::client::membership::ban_user::v3;

use super::content;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    rooms::MembershipChange,
};

/// Bans somebody from a room.
pub(crate) async fn ban_user_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let content = content("ban", request.reason.as_deref());
    let change = MembershipChange {
        room_id: request.room_id,
        sender: requester.user_id,
        user: request.user_id,
        content,
    };
    app.rooms.set_membership(change).await?;
    Ok(RumaResponse(v3::Response::new()))
}
