//! `POST /_matrix/client/v3/knock/{roomIdOrAlias}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias>

use axum::extract::State;
use ruma::api::client::knock::knock_room::v3;

use crate::{
    app::App,
    client::membership::find_room,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Active,
    },
};

/// Knocks on a room by id or alias, through the servers named if need be.
pub(crate) async fn knock_room_route(
    State(app): State<App>,
    Active(requester): Active,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let (room, servers) = find_room(&app, request.room_id_or_alias, request.via).await?;
    let reason = request.reason.as_deref();
    app.rooms
        .knock(&room, &requester.user_id, reason, servers)
        .await?;
    Ok(RumaResponse(v3::Response::new(room)))
}
