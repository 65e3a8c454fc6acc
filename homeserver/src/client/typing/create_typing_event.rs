//! `PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid>

use axum::extract::State;
use ruma::api::client::typing::create_typing_event::v3::{self, Typing};

use crate::{
    app::App,
    client::reading::ReadableRoom,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Notes that the requester types, or does so no longer.
pub(crate) async fn create_typing_event_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    if request.user_id != requester.user_id {
        return Err(ApiError::forbidden("You cannot type for somebody else"));
    }
    let room = ReadableRoom::joined(&app, &requester, &request.room_id).await?;
    match request.state {
        Typing::Yes(info) => {
            app.typing
                .start(&room.snapshot.room_id, &requester.user_id, info.timeout);
        }
        Typing::No => app.typing.stop(&room.snapshot.room_id, &requester.user_id),
    }
    Ok(RumaResponse(v3::Response::new()))
}
