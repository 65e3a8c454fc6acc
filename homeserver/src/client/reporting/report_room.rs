//! `POST /_matrix/client/v3/rooms/{roomId}/report`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreport>

use axum::extract::State;
use ruma::api::client::room::report_room::v3;

use super::{Reported, keep};
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Reports a room. The requester need not be in it.
pub(crate) async fn report_room_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    if app.rooms.snapshot(&request.room_id).await?.is_none() {
        return Err(ApiError::not_found("There is no such room"));
    }
    let reported = Reported {
        room_id: Some(request.room_id),
        ..Reported::default()
    };
    keep(&app, &requester, reported, request.reason).await?;
    Ok(RumaResponse(v3::Response::new()))
}
