//! `POST /_matrix/client/v1/login/get_token`
//!
//! Invariant: a session gives another device its account only with the password, and the token works once.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token>

use std::time::Duration;

use axum::extract::State;
use ruma::api::client::session::get_login_token::v1;

use crate::{
    accounts::openid_token_hash,
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
        uia::Operation,
    },
    store::CreateLoginToken,
};

/// How long a token works.
const LIFETIME: Duration = Duration::from_secs(2 * 60);
/// Letters of a token: 190 bits.
const TOKEN_CHARS: usize = 32;

/// Gives a token with which another device can log in.
pub(crate) async fn get_login_token_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> ApiResult<v1::Response> {
    let user = &requester.user_id;
    app.uia
        .require_password(Operation::GetLoginToken, user, request.auth.as_ref())
        .await?;
    let token = app.rng.token(TOKEN_CHARS);
    let now_ms = app.clock.now_ms();
    let change = CreateLoginToken {
        token_hash: openid_token_hash(&token),
        user_id: requester.user_id,
        now_ms,
        expires_ms: now_ms + i64::try_from(LIFETIME.as_millis()).unwrap_or(0),
    };
    app.store.commit(change).await?;
    Ok(RumaResponse(v1::Response::new(LIFETIME, token)))
}
