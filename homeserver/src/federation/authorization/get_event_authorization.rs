//! `GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1event_authroomideventid>

use axum::extract::State;
use ruma::api::federation::authorization::get_event_authorization::v1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        error::ApiError,
        origin::Signed,
    },
};

/// The auth chain of an event.
pub(crate) async fn get_event_authorization(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let snapshot = app.rooms.room_for(&origin, &request.room_id).await?;
    let event = app.store.event(&request.event_id).await?;
    let known = event.is_some_and(|event| event.pdu.room_id == request.room_id);
    if !known {
        return Err(ApiError::not_found("There is no such event in this room"));
    }
    let chain = app
        .rooms
        .auth_chain_of(&snapshot, vec![request.event_id])
        .await?;
    Ok(RumaResponse(v1::Response::new(
        app.rooms.pdus(&chain).await?,
    )))
}
