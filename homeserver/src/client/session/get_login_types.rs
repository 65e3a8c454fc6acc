//! `GET /_matrix/client/v3/login`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3login>

use ruma::api::client::session::get_login_types::v3;

use crate::http::decode::{ApiResult, Ruma, RumaResponse};

/// Lists how one can log in: with a password, or with a token from another session.
pub(crate) async fn get_login_types_route(Ruma(_): Ruma<v3::Request>) -> ApiResult<v3::Response> {
    let password = v3::LoginType::Password(v3::PasswordLoginType::new());
    let mut token = v3::TokenLoginType::new();
    token.get_login_token = true;
    let token = v3::LoginType::Token(token);
    Ok(RumaResponse(v3::Response::new(vec![password, token])))
}
