//! `POST /_matrix/client/v3/rooms/{roomId}/unban`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidunban>

use axum::extract::State;
use ruma::api::client::membership::unban_user::v3;

use super::Moderation;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::Membership,
};

/// Lifts a ban.
pub(crate) async fn unban_user_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let moderation = Moderation {
        requester,
        room_id: request.room_id,
        user_id: request.user_id,
        membership: Membership::Leave,
        reason: request.reason,
    };
    moderation.carry_out(&app, &[Membership::Ban]).await?;
    Ok(RumaResponse(v3::Response::new()))
}
