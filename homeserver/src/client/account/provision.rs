//! `GET` and `POST /_passeur/admin/v1/register`: accounts made by a program that knows the shared secret.
//!
//! Invariant: a request is proven by an HMAC-SHA256 over a nonce that is used once, the name and the
//! password, so that neither the secret nor a request that was overheard is of use again. Without a
//! configured secret the endpoint does not exist.
//!
//! The HMAC, in lower-case hexadecimal, is over `nonce NUL username NUL password`.

use axum::{extract::State, response::Response};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use crate::{
    accounts::{Login, Registration},
    app::App,
    http::{
        decode::{parse_json, raw_json, read_json},
        error::ApiError,
    },
};

/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What the program sends.
#[derive(Deserialize)]
struct Body {
    nonce: String,
    username: String,
    password: String,
    mac: String,
    #[serde(default)]
    inhibit_login: bool,
}

/// Gives a nonce.
pub(crate) async fn nonce_route(State(app): State<App>) -> Result<Response, ApiError> {
    app.accounts
        .registration()
        .shared_secret
        .as_ref()
        .ok_or_else(ApiError::unrecognized)?;
    let nonce = app.nonces.issue();
    Ok(raw_json(json!({ "nonce": nonce }).to_string()))
}

/// Makes an account, whatever the mode of registration.
pub(crate) async fn provision_route(
    State(app): State<App>,
    body: axum::body::Body,
) -> Result<Response, ApiError> {
    let secret = app
        .accounts
        .registration()
        .shared_secret
        .as_ref()
        .ok_or_else(ApiError::unrecognized)?;
    let body: Body = parse_json(&read_json(body, BODY_BYTES_MAX).await?)?;
    if !app.nonces.redeem(&body.nonce) || !is_proven(secret.expose(), &body) {
        return Err(ApiError::forbidden("The nonce or the MAC is wrong"));
    }
    let user_id = app.accounts.check_username(Some(&body.username)).await?;
    let registration = Registration {
        user_id: user_id.clone(),
        password: Some(body.password),
        token: None,
        login: (!body.inhibit_login).then(Login::default),
    };
    let mut answer = json!({ "user_id": user_id, "home_server": app.accounts.server_name() });
    if let Some(session) = app.accounts.register(registration).await? {
        let tokens = app.tokens.issue(&session)?;
        answer["access_token"] = tokens.access_token.into();
        answer["device_id"] = session.device_id.as_str().into();
    }
    Ok(raw_json(answer.to_string()))
}

fn is_proven(secret: &str, body: &Body) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    let text = [&*body.nonce, &*body.username, &*body.password].join("\0");
    mac.update(text.as_bytes());
    let Some(given) = from_hex(&body.mac) else {
        return false;
    };
    // A NUL inside a field would let it run into the next.
    let unambiguous = ![&body.nonce, &body.username, &body.password]
        .iter()
        .any(|field| field.contains('\0'));
    unambiguous && mac.verify_slice(&given).is_ok()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit))
            .collect(),
    )
}
