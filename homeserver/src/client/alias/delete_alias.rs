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

/// Removes a local alias: its creator may, who may set the room's canonical alias, and an administrator of the server.
pub(crate) async fn delete_alias_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let found = app.store.alias(&request.room_alias).await?;
    let (room, creator) = found.ok_or_else(|| ApiError::not_found("There is no such alias"))?;
    let user = &requester.user_id;
    let mut may_remove = creator == *user || app.config.admin.is_admin(user);
    if !may_remove && let Some(snapshot) = app.rooms.snapshot(&room).await? {
        may_remove = app.rooms.may_list(&snapshot, user).await?;
    }
    if !may_remove {
        return Err(ApiError::forbidden("The alias was made by somebody else"));
    }
    app.rooms
        .remove_alias(request.room_alias, &room, user)
        .await?;
    Ok(RumaResponse(v3::Response::new()))
}
