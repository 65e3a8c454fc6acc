//! `PUT /_matrix/federation/v2/invite/{roomId}/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid>

use axum::extract::State;
use ruma::api::federation::membership::{RawStrippedState, create_invite::v2};
use serde_json::value::RawValue;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        error::ApiError,
        origin::Signed,
    },
};

/// Takes an invite of one of ours, and answers with it signed by us as well.
pub(crate) async fn create_invite(
    State(app): State<App>,
    Signed { origin, request }: Signed<v2::Request>,
) -> ApiResult<v2::Response> {
    let stripped: Vec<Box<RawValue>> = request
        .invite_room_state
        .into_iter()
        .filter_map(into_json)
        .collect();
    let signed = app
        .rooms
        .accept_invite(&origin, &request.room_version, &request.event)
        .await?;
    if signed.pdu().room_id != request.room_id || signed.pdu().event_id != request.event_id {
        return Err(ApiError::invalid_param(
            "The invite is not the one that the path names",
        ));
    }
    app.rooms.keep_invite(&signed, &stripped).await?;
    let event = serde_json::from_slice(signed.json()).map_err(|_| ApiError::internal())?;
    Ok(RumaResponse(v2::Response::new(event)))
}

#[expect(deprecated, reason = "older servers still send stripped events")]
fn into_json(state: RawStrippedState) -> Option<Box<RawValue>> {
    match state {
        RawStrippedState::Stripped(event) => Some(event.into_json()),
        RawStrippedState::Pdu(pdu) => Some(pdu),
        _ => None,
    }
}
