//! `POST /_matrix/client/v3/rooms/{roomId}/upgrade`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidupgrade>

use axum::extract::State;
use ruma::api::client::room::upgrade_room::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Active,
    },
    rooms::Upgrade,
};

/// Replaces a room by one of another version.
pub(crate) async fn upgrade_room_route(
    State(app): State<App>,
    Active(requester): Active,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let upgrade = Upgrade {
        room_id: request.room_id,
        user_id: requester.user_id,
        version: request.new_version,
        additional_creators: request.additional_creators,
    };
    // On a task of its own, so that a client that goes away does not stop it halfway.
    let rooms = app.rooms.clone();
    let task = tokio::spawn(async move { rooms.upgrade(&upgrade).await });
    let replacement = task.await.map_err(|_| ApiError::internal())??;
    Ok(RumaResponse(v3::Response::new(replacement)))
}
