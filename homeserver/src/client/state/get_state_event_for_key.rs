//! `GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstateeventtypestatekey>

use axum::{extract::State, response::Response};
use ruma::api::client::state::get_state_event_for_key::v3::{self, StateEventFormat};

use crate::{
    app::App,
    client::reading::ReadableRoom,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
    rooms::projection,
};

/// One event of a room's state: its content, or the whole of it.
pub(crate) async fn get_state_event_for_key_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let room = ReadableRoom::open(&app, &requester, &request.room_id).await?;
    let state = room.state().await?;
    let event = match state.get(&(request.event_type, request.state_key)) {
        Some(id) => app.store.event(id).await?,
        None => None,
    };
    let event = event.ok_or_else(|| ApiError::not_found("There is no such state"))?;
    let now_ms = app.rooms.showing_ms();
    if request.format != StateEventFormat::Event {
        return Ok(raw_json(projection::content(&event, now_ms).into_owned()));
    }
    Ok(raw_json(room.json_of(&event).await?))
}
