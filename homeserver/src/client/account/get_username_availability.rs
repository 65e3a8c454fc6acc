//! `GET /_matrix/client/v3/register/available`
//!
//! Invariant: where nobody may register, nobody learns which names are taken.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable>

use axum::extract::State;
use ruma::api::client::account::get_username_availability::v3;

use crate::{
    app::App,
    config::RegistrationMode,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
};

/// Says whether a name is valid and free.
pub(crate) async fn get_username_availability_route(
    State(app): State<App>,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    if app.accounts.registration().mode == RegistrationMode::Closed {
        return Err(ApiError::forbidden("Registration is closed"));
    }
    app.accounts.check_username(Some(&request.username)).await?;
    Ok(RumaResponse(v3::Response::new(true)))
}
