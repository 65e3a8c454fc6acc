//! `GET /_matrix/federation/v1/query/directory`: the room behind one of our aliases.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory>

use axum::extract::State;
use ruma::api::federation::query::get_room_information::v1::{Request, Response};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        error::ApiError,
        origin::Signed,
    },
};

/// Answers for our own aliases.
///
/// # Errors
/// 404 `M_NOT_FOUND` for an alias that is not ours or leads nowhere.
pub(crate) async fn get_room_information(
    State(app): State<App>,
    Signed { request, .. }: Signed<Request>,
) -> ApiResult<Response> {
    let alias = request.room_alias;
    let found = match alias.server_name() == app.config.server_name {
        true => app.rooms.resolve_alias(&alias).await?,
        false => None,
    };
    let (room, servers) =
        found.ok_or_else(|| ApiError::not_found("There is no such alias here"))?;
    Ok(RumaResponse(Response::new(room, servers)))
}
