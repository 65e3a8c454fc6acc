//! `POST /_matrix/client/v3/join/{roomIdOrAlias}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias>

use crate::{
    app::App,
    client::membership::{find_room, take_third_party_invite},
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Active,
    },
};
use axum::extract::State;
use ruma::api::client::membership::join_room_by_id_or_alias::v3;

/// Joins a room by id or alias, through the servers named if need be.
pub(crate) async fn join_room_by_id_or_alias_route(
    State(app): State<App>,
    Active(requester): Active,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let (room, servers) = find_room(&app, request.room_id_or_alias, request.via).await?;
    let (user, signed) = (&requester.user_id, request.third_party_signed);
    take_third_party_invite(&app, &room, user, signed).await?;
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
