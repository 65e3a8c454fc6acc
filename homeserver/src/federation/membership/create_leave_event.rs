//! `PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_leaveroomideventid>

use axum::extract::State;
use ruma::api::federation::membership::create_leave_event::v2;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
    store::Membership,
};

/// Takes a leave in.
pub(crate) async fn create_leave_event(
    State(app): State<App>,
    Signed { origin, request }: Signed<v2::Request>,
) -> ApiResult<v2::Response> {
    app.rooms
        .host(
            &origin,
            &request.room_id,
            &request.event_id,
            &request.pdu,
            Membership::Leave,
        )
        .await?;
    Ok(RumaResponse(v2::Response::new()))
}
