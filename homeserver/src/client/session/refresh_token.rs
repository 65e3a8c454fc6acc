//! `POST /_matrix/client/v3/refresh`
//!
//! Invariant: see `accounts/refresh.rs`; a session that is over answers without `soft_logout`.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh>

use axum::extract::State;
use ruma::api::client::session::refresh_token::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
};

/// Gives new tokens for a refresh token.
pub(crate) async fn refresh_token_route(
    State(app): State<App>,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let claims = app
        .tokens
        .read_refresh(&request.refresh_token)
        .ok_or_else(|| ApiError::unknown_token(false))?;
    let session = app
        .accounts
        .refresh(
            &claims.session_id,
            claims.user_id,
            claims.device_id,
            claims.token,
        )
        .await?;
    let tokens = app.tokens.issue(&session)?;
    let mut response = v3::Response::new(tokens.access_token);
    response.refresh_token = tokens.refresh_token;
    response.expires_in_ms = tokens.expires_in;
    Ok(RumaResponse(response))
}
