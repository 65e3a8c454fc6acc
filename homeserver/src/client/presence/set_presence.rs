//! `PUT /_matrix/client/v3/presence/{userId}/status`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3presenceuseridstatus>

use axum::extract::State;
use ruma::{api::client::presence::set_presence::v3, presence::PresenceState};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Refuses what is none of the three that there are.
///
/// # Errors
/// 400 `M_INVALID_PARAM`.
pub(crate) fn check(presence: &PresenceState) -> Result<(), ApiError> {
    match presence {
        PresenceState::Online | PresenceState::Offline | PresenceState::Unavailable => Ok(()),
        _ => Err(ApiError::invalid_param("There is no such presence")),
    }
}

/// Says how the requester is. It is accepted, and without effect, if presence is off.
pub(crate) async fn set_presence_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    requester.must_be(&request.user_id)?;
    check(&request.presence)?;
    app.presence
        .set(&requester.user_id, request.presence, request.status_msg);
    Ok(RumaResponse(v3::Response::new()))
}
