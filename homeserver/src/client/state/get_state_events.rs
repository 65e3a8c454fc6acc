//! `GET /_matrix/client/v3/rooms/{roomId}/state`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate>

use axum::{extract::State, response::Response};
use ruma::api::client::state::get_state_events::v3;

use crate::{
    app::App,
    client::reading::{ReadableRoom, answer},
    http::{decode::Ruma, error::ApiError, requester::Requester},
    rooms::json::JsonWriter,
};

/// The state of a room: the current one, or the one in which the requester left.
pub(crate) async fn get_state_events_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let room = ReadableRoom::open(&app, &requester, &request.room_id).await?;
    let ids: Vec<_> = room.state().await?.values().cloned().collect();
    let events = app.store.events(&ids).await?;
    let mut out = JsonWriter::with_capacity(512 * events.len() + 16);
    room.write_state(&mut out, &events).await?;
    Ok(answer(out))
}
