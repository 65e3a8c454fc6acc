//! `PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_knockroomideventid>

use axum::extract::State;
use ruma::api::federation::membership::{RawStrippedState, create_knock_event::v1};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
    store::Membership,
};

/// Takes a knock in and answers with what the one who knocks is shown of the room.
pub(crate) async fn create_knock_event(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let (room, event, pdu) = (&request.room_id, &request.event_id, &request.pdu);
    app.rooms
        .host(&origin, room, event, pdu, Membership::Knock)
        .await?;
    let shown = app.rooms.shown_of(room).await?;
    let shown = shown.into_iter().map(RawStrippedState::Pdu).collect();
    Ok(RumaResponse(v1::Response::new(shown)))
}
