//! `GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event>

use axum::extract::State;
use ruma::api::client::room::get_event_by_timestamp::v1;

use crate::{
    app::App,
    client::reading::ReadableRoom,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    rooms::Moment,
};

/// The event closest to a time that the requester may see.
pub(crate) async fn get_event_by_timestamp_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> ApiResult<v1::Response> {
    let room = ReadableRoom::open(&app, &requester, &request.room_id).await?;
    let moment = Moment {
        ts: request.ts,
        direction: request.dir,
    };
    let closest = app
        .rooms
        .closest_to(&requester.user_id, &room.snapshot, moment)
        .await?;
    let event =
        closest.ok_or_else(|| ApiError::not_found("There is no event in that direction"))?;
    let response = v1::Response::new(event.id().to_owned(), event.pdu.origin_server_ts);
    Ok(RumaResponse(response))
}
