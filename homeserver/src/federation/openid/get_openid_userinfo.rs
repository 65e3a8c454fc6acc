//! `GET /_matrix/federation/v1/openid/userinfo`: whom an OpenID token names.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo>

use axum::extract::State;
use ruma::api::federation::openid::get_openid_userinfo::v1::{Request, Response};

use crate::{
    accounts::openid_token_hash,
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
};

/// Answers anyone who holds a token.
///
/// # Errors
/// 401 `M_UNKNOWN_TOKEN` for a token that is unknown or has expired.
pub(crate) async fn get_openid_userinfo(
    State(app): State<App>,
    Ruma(request): Ruma<Request>,
) -> ApiResult<Response> {
    let hash = openid_token_hash(&request.access_token);
    let user = app.store.openid_user(&hash, app.clock.now_ms()).await?;
    let user = user.ok_or_else(|| ApiError::unknown_token(false))?;
    Ok(RumaResponse(Response::new(user)))
}
