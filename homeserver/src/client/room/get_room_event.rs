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
    rooms::{
        Reader,
        projection::{self, View},
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
    let room = room.map_err(|_| not_found())?;
    let event = room.event(&request.event_id).await?;
    let (user_id, device_id) = (&*requester.user_id, &*requester.device_id);
    let extras = app
        .rooms
        .extras(Reader { user_id, device_id }, std::slice::from_ref(&event))
        .await?;
    let view = View {
        now_ms: app.rooms.showing_ms(),
        with_room: true,
    };
    let extras = extras.into_iter().next().unwrap_or_default();
    Ok(raw_json(projection::client_event(&event, &extras, view)))
}
