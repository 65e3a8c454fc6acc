//! `POST /_matrix/client/v3/rooms/{roomId}/read_markers`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidread_markers>

use axum::extract::State;
use ruma::api::client::read_marker::set_read_marker::v3;

use crate::{
    app::App,
    client::receipt::create_receipt::{record, record_fully_read},
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Moves the marker and both kinds of receipt at once.
pub(crate) async fn set_read_marker_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let room = &request.room_id;
    if let Some(event) = &request.fully_read {
        record_fully_read(&app, &requester, room, event).await?;
    }
    for (event, private) in [
        (&request.read_receipt, false),
        (&request.private_read_receipt, true),
    ] {
        if let Some(event) = event {
            record(&app, &requester, room, event, private, String::new()).await?;
        }
    }
    Ok(RumaResponse(v3::Response::new()))
}
