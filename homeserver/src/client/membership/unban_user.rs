//! `POST /_matrix/client/v3/rooms/{roomId}/unban`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidunban>

use axum::extract::State;
use ruma::api::client::membership::unban_user::v3;

use super::content;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    rooms::MembershipChange,
    store::Membership,
};

/// Lifts a ban.
pub(crate) async fn unban_user_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let snapshot = app.rooms.snapshot(&request.room_id).await?;
    let banned = snapshot
        .is_some_and(|snapshot| snapshot.members.membership(&request.user_id) == Membership::Ban);
    if !banned {
        return Err(ApiError::forbidden(
            "The user is not banned from a room that you are in",
        ));
    }
    let change = MembershipChange {
        room_id: request.room_id,
        sender: requester.user_id,
        user: request.user_id,
        content: content("leave", request.reason.as_deref()),
    };
    app.rooms.set_membership(change).await?;
    Ok(RumaResponse(v3::Response::new()))
}
