//! `POST /_matrix/client/v3/register`
//!
//! Invariant: a name is judged before anybody is asked to prove anything, and again when the
//! account is made.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register>

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use ruma::api::{
    client::{
        account::register::{LoginType, RegistrationKind, v3},
        uiaa::AuthType,
    },
    error::ErrorKind,
};
use serde_json::json;

use crate::{
    accounts::{Login, Registration},
    app::App,
    config::RegistrationMode,
    http::{
        decode::{Ruma, RumaResponse, raw_json},
        error::ApiError,
        uia::{Operation, Proof},
    },
};

/// Makes an account and logs in, unless the client does not want to be.
pub(crate) async fn register_route(
    State(app): State<App>,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    check_kind(&request)?;
    let stage = stage_of(app.accounts.registration().mode)?;
    let user_id = app
        .accounts
        .check_username(request.username.as_deref())
        .await?;
    if let Some(password) = &request.password {
        app.accounts.passwords().check_new(password)?;
    }
    let proof = app
        .uia
        .require(Operation::Register, None, stage, request.auth.as_ref())
        .await?;
    let password = request
        .password
        .ok_or_else(|| ApiError::missing_param("A password is needed"))?;
    let login = (!request.inhibit_login).then_some(Login {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refreshable: request.refresh_token,
    });
    let registration = Registration {
        user_id: user_id.clone(),
        password: Some(password),
        token: match proof {
            Proof::RegistrationToken(token) => Some(token),
            Proof::Given => None,
        },
        login,
    };
    let Some(session) = app.accounts.register(registration).await? else {
        // ruma would name a device that is null.
        return Ok(raw_json(json!({ "user_id": user_id }).to_string()));
    };
    let tokens = app.tokens.issue(&session)?;
    let mut response = v3::Response::new(user_id);
    response.access_token = Some(tokens.access_token);
    response.refresh_token = tokens.refresh_token;
    response.expires_in = tokens.expires_in;
    response.device_id = Some(session.device_id);
    Ok(RumaResponse(response).into_response())
}

/// Refuses what is not registered here: guests and users of application services.
fn check_kind(request: &v3::Request) -> Result<(), ApiError> {
    if request.kind != RegistrationKind::User {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorKind::GuestAccessForbidden,
            "Guests are not served",
        ));
    }
    match &request.login_type {
        Some(LoginType::ApplicationService) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::AppserviceLoginUnsupported,
            "Application services are not supported",
        )),
        _ => Ok(()),
    }
}

/// What a stranger must prove in this mode.
fn stage_of(mode: RegistrationMode) -> Result<AuthType, ApiError> {
    match mode {
        RegistrationMode::Closed => Err(ApiError::forbidden("Registration is closed")),
        RegistrationMode::Token => Ok(AuthType::RegistrationToken),
        RegistrationMode::Open => Ok(AuthType::Dummy),
    }
}
