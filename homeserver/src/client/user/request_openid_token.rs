//! `POST /_matrix/client/v3/user/{userId}/openid/request_token`
//!
//! Invariant: such a token names a user and opens nothing; only its hash is kept.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridopenidrequest_token>

use std::time::Duration;

use axum::extract::State;
use ruma::{api::client::account::request_openid_token::v3, authentication::TokenType};

use crate::{
    accounts::openid_token_hash,
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::CreateOpenidToken,
};

/// How long a token works.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Letters of a token: 190 bits.
const TOKEN_CHARS: usize = 32;

/// Gives a token that names the requester.
pub(crate) async fn request_openid_token_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    requester.must_be(&request.user_id)?;
    let token = app.rng.token(TOKEN_CHARS);
    let now_ms = app.clock.now_ms();
    let change = CreateOpenidToken {
        token_hash: openid_token_hash(&token),
        user_id: requester.user_id,
        now_ms,
        expires_ms: now_ms + i64::try_from(LIFETIME.as_millis()).unwrap_or(0),
    };
    app.store.commit(change).await?;
    Ok(RumaResponse(v3::Response::new(
        token,
        TokenType::Bearer,
        app.config.server_name.clone(),
        LIFETIME,
    )))
}
