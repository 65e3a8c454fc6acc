//! `POST /_matrix/client/v3/rooms/{roomId}/kick`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidkick>

use axum::extract::State;
use ruma::api::client::membership::kick_user::v3;

use super::Moderation;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::Membership,
};

/// Puts somebody out of a room, takes back an invite, or turns a knock down.
pub(crate) async fn kick_user_route(
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
    moderation
        .carry_out(
            &app,
            &[Membership::Join, Membership::Invite, Membership::Knock],
        )
        .await?;
    Ok(RumaResponse(v3::Response::new()))
}
