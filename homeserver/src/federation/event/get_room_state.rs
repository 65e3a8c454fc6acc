//! `GET /_matrix/federation/v1/state/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1stateroomid>

use axum::extract::State;
use ruma::api::federation::event::get_room_state::v1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
};

/// The state before an event.
pub(crate) async fn get_room_state(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let room = &request.room_id;
    let (state, chain) = app
        .rooms
        .state_ids_for(&origin, room, &request.event_id)
        .await?;
    let chain = app.rooms.pdus(&chain).await?;
    Ok(RumaResponse(v1::Response::new(
        chain,
        app.rooms.pdus(&state).await?,
    )))
}
