//! `POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreporteventid>

use axum::extract::State;
use ruma::api::client::room::report_content::v3;

use super::{Reported, keep};
use crate::{
    app::App,
    client::reading::ReadableRoom,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Reports an event of a room that the requester is joined to.
pub(crate) async fn report_content_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let not_found = || ApiError::not_found("There is no such event, or you are not in the room");
    let room = ReadableRoom::joined(&app, &requester, &request.room_id).await;
    room.map_err(|_| not_found())?
        .event(&request.event_id)
        .await
        .map_err(|_| not_found())?;
    let reported = Reported {
        room_id: Some(request.room_id),
        event_id: Some(request.event_id),
        user_id: None,
    };
    keep(
        &app,
        &requester,
        reported,
        request.reason.unwrap_or_default(),
    )
    .await?;
    Ok(RumaResponse(v3::Response::new()))
}
