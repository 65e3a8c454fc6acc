//! `GET /_matrix/client/v3/directory/room/{roomAlias}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directoryroomroomalias>

use axum::extract::State;
use ruma::api::client::alias::get_alias::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
};

/// The room behind an alias, and servers that are in it; aliases of other servers are asked for.
pub(crate) async fn get_alias_route(
    State(app): State<App>,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let found = app.rooms.resolve_alias(&request.room_alias).await?;
    let (room_id, servers) = found.ok_or_else(|| ApiError::not_found("There is no such alias"))?;
    Ok(RumaResponse(v3::Response::new(room_id, servers)))
}
