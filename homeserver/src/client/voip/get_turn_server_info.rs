//! `GET /_matrix/client/v3/voip/turnServer`
//!
//! Invariant: credentials expire, and say nothing of who was given them beyond a name that the relay never hears again.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3voipturnserver>

use axum::extract::State;
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use ruma::api::client::voip::get_turn_server_info::v3;
use sha1::Sha1;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Letters of the name in the credentials.
const NAME_CHARS: usize = 12;

/// Gives credentials for the relay: a time and a name, and their MAC under the secret that the relay knows.
pub(crate) async fn get_turn_server_info_route(
    State(app): State<App>,
    _: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let turn = &app.config.turn;
    let Some(secret) = &turn.shared_secret else {
        // No relay: the answer has no error for it, so there is nothing in it.
        let (name, password) = (String::new(), String::new());
        let nothing = v3::Response::new(name, password, Vec::new(), turn.lifetime());
        return Ok(RumaResponse(nothing));
    };
    let lifetime_secs = i64::try_from(turn.credentials_secs).unwrap_or(i64::MAX);
    let until = (app.clock.now_ms() / 1000).saturating_add(lifetime_secs);
    // The relay needs no more than that names differ; it is not told the user's.
    let username = format!("{until}:{}", app.rng.token(NAME_CHARS));
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.expose().as_bytes())
        .map_err(|_| ApiError::internal())?;
    mac.update(username.as_bytes());
    let password = STANDARD.encode(mac.finalize().into_bytes());
    Ok(RumaResponse(v3::Response::new(
        username,
        password,
        turn.uris.clone(),
        turn.lifetime(),
    )))
}
