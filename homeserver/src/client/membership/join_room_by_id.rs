//! `POST /_matrix/client/v3/rooms/{roomId}/join`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin>

use axum::extract::State;
use ruma::api::client::membership::join_room_by_id::v3;

use crate::{
    app::App,
    client::membership::take_third_party_invite,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Active,
    },
};

/// Joins a room that this server knows, or to which the user is invited.
pub(crate) async fn join_room_by_id_route(
    State(app): State<App>,
    Active(requester): Active,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let room = request.room_id;
    let (user, signed) = (&requester.user_id, request.third_party_signed);
    take_third_party_invite(&app, &room, user, signed).await?;
    app.rooms
        .join(
            &room,
            &requester.user_id,
            request.reason.as_deref(),
            Vec::new(),
        )
        .await?;
    Ok(RumaResponse(v3::Response::new(room)))
}
