//! `GET /_matrix/client/v1/register/m.login.registration_token/validity`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity>

use axum::extract::State;
use ruma::api::client::account::check_registration_token_validity::v1;

use crate::{
    app::App,
    config::RegistrationMode,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
};

/// Says whether a registration token would be accepted.
pub(crate) async fn check_registration_token_validity_route(
    State(app): State<App>,
    Ruma(request): Ruma<v1::Request>,
) -> ApiResult<v1::Response> {
    if app.accounts.registration().mode == RegistrationMode::Closed {
        return Err(ApiError::forbidden("Registration is closed"));
    }
    let valid = app
        .accounts
        .is_registration_token_valid(&request.token)
        .await?;
    Ok(RumaResponse(v1::Response::new(valid)))
}
