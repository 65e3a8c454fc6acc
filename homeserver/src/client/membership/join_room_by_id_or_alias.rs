//! `POST /_matrix/client/v3/join/{roomIdOrAlias}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias>

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Active,
    },
};
use axum::extract::State;
use ruma::OwnedRoomId;
use ruma::api::client::membership::join_room_by_id_or_alias::v3;

/// Joins a room by id or alias, through the servers named if need be.
pub(crate) async fn join_room_by_id_or_alias_route(
    State(app): State<App>,
    Active(requester): Active,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let (room, servers) = match OwnedRoomId::try_from(request.room_id_or_alias) {
        Ok(room) => (room, request.via),
        Err(alias) => {
            let found = app.rooms.resolve_alias(&alias).await?;
            let (room, servers) =
                found.ok_or_else(|| ApiError::not_found("There is no such alias"))?;
            (room, request.via.into_iter().chain(servers).collect())
        }
    };
    app.rooms
        .join(
            &room,
            &requester.user_id,
            request.reason.as_deref(),
            servers,
        )
        .await?;
    Ok(RumaResponse(v3::Response::new(room)))
}
