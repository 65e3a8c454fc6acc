//! `GET /_matrix/federation/v1/hierarchy/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid>

use axum::{extract::State, response::Response};
use ruma::api::federation::space::get_hierarchy::v1::Request;

use crate::{
    app::App,
    http::{decode::serialized, error::ApiError, origin::Signed},
};

/// A space with those of its children that the server could read or join.
///
/// # Errors
/// 404 `M_NOT_FOUND` for a room that is not known here, or that the server could neither read nor join: the answer tells not
/// which.
pub(crate) async fn get_hierarchy(
    State(app): State<App>,
    Signed { origin, request }: Signed<Request>,
) -> Result<Response, ApiError> {
    let (room, suggested_only) = (&request.room_id, request.suggested_only);
    let space = app.rooms.space_for(&origin, room, suggested_only).await?;
    let space = space.ok_or_else(|| ApiError::not_found("There is no such room for you"))?;
    serialized(&space)
}
