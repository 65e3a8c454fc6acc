//! `POST /_matrix/client/v3/rooms/{roomId}/forget`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget>

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    store::Membership,
};
use axum::extract::State;
use http::StatusCode;
use ruma::api::client::membership::forget_room::v3;
use ruma::api::error::ErrorKind;

/// Forgets a room that the user has left.
pub(crate) async fn forget_room_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let rooms = app.rooms.memberships(&requester.user_id).await?;
    match rooms.get(&request.room_id).map(|row| &row.membership) {
        Some(Membership::Leave | Membership::Ban) => {}
        other => {
            let kind = ErrorKind::Unknown;
            let message = match other {
                Some(_) => "Leave the room before you forget it",
                None => "You have never been in this room",
            };
            return Err(ApiError::new(StatusCode::BAD_REQUEST, kind, message));
        }
    }
    app.rooms.forget(request.room_id, requester.user_id).await?;
    Ok(RumaResponse(v3::Response::new()))
}
