//! `POST /_matrix/client/v3/user_directory/search`
//!
//! Invariant: only users who share a room with the requester are found, so that nobody can list
//! who exists here.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch>

use axum::extract::State;
use ruma::{
    OwnedUserId, UserId,
    api::client::user_directory::search_users::v3::{Request, Response, User},
};
use serde_json::Value;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// The longest term, in bytes.
const TERM_BYTES_MAX: usize = 512;
/// The most users that are shown at once.
const RESULTS_MAX: usize = 100;

/// Finds users by id or display name.
pub(crate) async fn search_users_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<Request>,
) -> ApiResult<Response> {
    if request.search_term.len() > TERM_BYTES_MAX {
        return Err(ApiError::too_large());
    }
    let term = request.search_term.trim().to_lowercase();
    let limit = usize::try_from(request.limit).unwrap_or(RESULTS_MAX);
    let limit = limit.min(RESULTS_MAX);
    let mut known: Vec<OwnedUserId> = app
        .rooms
        .users_sharing_with(&requester.user_id)
        .await?
        .into_iter()
        .collect();
    known.retain(|user| *user != requester.user_id);
    let local: Vec<&UserId> = known
        .iter()
        .filter(|user| app.accounts.is_local(user))
        .map(|user| &**user)
        .collect();
    let profiles = app.store.profiles(&local).await?;
    let text = |user: &UserId, field: &str| {
        let value = profiles.get(user)?.get(field)?;
        Value::as_str(value).map(ToOwned::to_owned)
    };
    let mut found = known.into_iter().filter_map(|user| {
        let display_name = text(&user, "displayname");
        let by_name = display_name
            .as_ref()
            .is_some_and(|name| name.to_lowercase().contains(&term));
        if !by_name && !user.as_str().to_lowercase().contains(&term) {
            return None;
        }
        let avatar_url = text(&user, "avatar_url");
        let mut result = User::new(user);
        result.display_name = display_name;
        result.avatar_url = avatar_url.map(Into::into);
        Some(result)
    });
    let results: Vec<User> = found.by_ref().take(limit).collect();
    let limited = found.next().is_some();
    Ok(RumaResponse(Response::new(results, limited)))
}
