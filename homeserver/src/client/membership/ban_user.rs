//! `POST /_matrix/client/v3/rooms/{roomId}/ban`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidban>

use axum::extract::State;
use ruma::api::client::membership::ban_user::v3;

use super::Moderation;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::Membership,
};

/// Bans somebody from a room.
pub(crate) async fn ban_user_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let moderation = Moderation {
        requester,
        room_id: request.room_id,
        user_id: request.user_id,
        membership: Membership::Ban,
        reason: request.reason,
    };
    moderation.carry_out(&app, &[]).await?;
    Ok(RumaResponse(v3::Response::new()))
}
