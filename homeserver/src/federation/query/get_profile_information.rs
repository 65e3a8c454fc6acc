//! `GET /_matrix/federation/v1/query/profile`: the profile of one of our users.
//!
//! Invariant: if profiles are not public, only a server that shares a room with the user is told; others are refused alike,
//! whether the user exists or not.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile>

use axum::extract::State;
use ruma::{
    api::federation::query::get_profile_information::v1::{Request, Response},
    profile::ProfileFieldName,
};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        error::ApiError,
        origin::Signed,
    },
};

/// Answers any server, or, as configured, only servers that share a room with the user.
///
/// # Errors
/// 404 `M_NOT_FOUND` for a user who is not ours, or not there, and a field that is not set; 403 `M_FORBIDDEN` where the server may not ask.
pub(crate) async fn get_profile_information(
    State(app): State<App>,
    Signed { origin, request }: Signed<Request>,
) -> ApiResult<Response> {
    let user = request.user_id;
    let is_local = app.accounts.is_local(&user);
    let is_told = app.config.profiles.public
        || is_local && app.store.server_shares_with(&origin, &user).await?;
    if !is_told {
        return Err(ApiError::forbidden(
            "Profiles are shown to servers that share a room",
        ));
    }
    if !is_local || !app.accounts.is_known(&user).await? {
        return Err(ApiError::not_found("There is no such user here"));
    }
    let wanted = request.field.as_ref().map(ProfileFieldName::as_str);
    let profile = app.store.profile(&user).await?;
    if wanted.is_some_and(|wanted| !profile.contains_key(wanted)) {
        return Err(ApiError::not_found("There is no such field in the profile"));
    }
    let shown = profile
        .into_iter()
        .filter(|(field, _)| wanted.is_none_or(|wanted| wanted == field));
    Ok(RumaResponse(shown.collect()))
}
