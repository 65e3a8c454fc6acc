//! `GET /_matrix/client/unstable/org.passeur/rooms/{roomId}/expiry_support`: which servers in a room do not say that they
//! destroy what expires, for those who are in it. `lacking` have answered, `unknown` have not.
//!
//! No part of the specification.

use axum::{
    extract::{Path, State},
    response::Response,
};
use ruma::OwnedRoomId;
use serde_json::json;

use crate::{
    app::App,
    client::reading::ReadableRoom,
    http::{decode::raw_json, error::ApiError, requester::Requester},
};

/// Where it stands.
pub(crate) const PATH: &str = "/_matrix/client/unstable/org.passeur/rooms/{room_id}/expiry_support";

/// Tells members which servers to be wary of.
///
/// # Errors
/// `M_INVALID_PARAM` for what is no room's id, `M_FORBIDDEN` to everybody who is not joined.
pub(crate) async fn get_expiry_support_route(
    State(app): State<App>,
    requester: Requester,
    Path(room_id): Path<String>,
) -> Result<Response, ApiError> {
    let room_id = OwnedRoomId::try_from(room_id)
        .map_err(|_| ApiError::invalid_param("The path names no room"))?;
    let room = ReadableRoom::joined(&app, &requester, &room_id).await?;
    let without = app.rooms.servers_without_support(&room.snapshot).await;
    let body = json!({ "lacking": without.lacking, "unknown": without.unknown });
    Ok(raw_json(body.to_string()))
}
