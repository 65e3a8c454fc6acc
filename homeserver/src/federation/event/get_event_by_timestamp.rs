//! `GET /_matrix/federation/v1/timestamp_to_event/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid>

use axum::extract::State;
use ruma::api::federation::event::get_event_by_timestamp::v1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        origin::Signed,
    },
    rooms::Moment,
};

/// The event closest to a time that a server in the room may see.
pub(crate) async fn get_event_by_timestamp(
    State(app): State<App>,
    Signed { origin, request }: Signed<v1::Request>,
) -> ApiResult<v1::Response> {
    let moment = Moment {
        ts: request.ts,
        direction: request.dir,
    };
    let event = app
        .rooms
        .closest_for(&origin, &request.room_id, moment)
        .await?;
    let response = v1::Response::new(event.id().to_owned(), event.pdu.origin_server_ts);
    Ok(RumaResponse(response))
}
