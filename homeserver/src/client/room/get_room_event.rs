//! `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid>

use axum::{extract::State, response::Response};
use ruma::api::client::room::get_room_event::v3;

use crate::{
    app::App,
    client::reading::ReadableRoom,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// One event, if the requester may see it.
pub(crate) async fn get_room_event_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let room = ReadableRoom::open_for_event(&app, &requester, &request.room_id).await?;
    let event = room.event(&request.event_id).await?;
    Ok(raw_json(room.json_of(&event).await?))
}
