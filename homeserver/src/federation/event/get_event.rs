//! `GET /_matrix/federation/v1/event/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1eventeventid>

use axum::extract::State;
use ruma::api::federation::event::get_event::v1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
};

/// One event.
pub(crate) async fn get_event(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let pdu = app.rooms.event_for(&origin, &request.event_id).await?;
    let name = app.config.server_name.clone();
    Ok(RumaResponse(v1::Response::new(
        name,
        app.clock.timestamp(),
        pdu,
    )))
}
