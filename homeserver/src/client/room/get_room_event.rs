//! `GET /_matrix/client/v3/rooms/{roomId}/event/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid>

use axum::{extract::State, response::Response};
use http::StatusCode;
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
    let not_found = || ApiError::not_found("There is no such event");
    let room = ReadableRoom::open(&app, &requester, &request.room_id).await;
    // Whoever may not read the room is told no more than that there is nothing for them.
    let room = room.map_err(|error| match error {
        ApiError::Standard { status, .. } if status == StatusCode::FORBIDDEN => not_found(),
        error => error,
    })?;
    let event = room.event(&request.event_id).await?;
    Ok(raw_json(room.json_of(&event).await?))
}
