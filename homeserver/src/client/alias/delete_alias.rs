//! `DELETE /_matrix/client/v3/directory/room/{roomAlias}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3directoryroomroomalias>

use axum::extract::State;
use ruma::api::client::alias::delete_alias::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Removes a local alias: its creator may, and an administrator of the server.
pub(crate) async fn delete_alias_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let found = app.store.alias(&request.room_alias).await?;
    let (_, creator) = found.ok_or_else(|| ApiError::not_found("There is no such alias"))?;
    if creator != requester.user_id && !app.config.admin.users.contains(&requester.user_id) {
        return Err(ApiError::forbidden("The alias was made by somebody else"));
    }
    app.rooms.remove_alias(request.room_alias).await?;
    Ok(RumaResponse(v3::Response::new()))
}
