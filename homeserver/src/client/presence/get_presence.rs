//! `GET /_matrix/client/v3/presence/{userId}/status`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3presenceuseridstatus>

use std::time::Duration;

use axum::extract::State;
use ruma::{api::client::presence::get_presence::v3, presence::PresenceState};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Whether somebody is there, for themselves and those who share a room with them. Of whom nothing is known, and of everybody
/// if presence is off, it is told that they are offline.
pub(crate) async fn get_presence_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let (own, user) = (&requester.user_id, &request.user_id);
    if own != user && !app.rooms.shares_room(own, user).await? {
        return Err(ApiError::forbidden("You share no room with this user"));
    }
    let mut response = v3::Response::new(PresenceState::Offline);
    if let Some(shown) = app.presence.of(user) {
        let ago = shown.last_active_ago(app.clock.now_ms());
        response.last_active_ago = u64::try_from(ago).ok().map(Duration::from_millis);
        response.currently_active = Some(shown.currently_active);
        response.status_msg = shown.status_msg;
        response.presence = shown.presence;
    }
    Ok(RumaResponse(response))
}
