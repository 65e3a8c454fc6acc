//! `POST /_matrix/client/v3/login`
//!
//! Invariant: an unknown account and a wrong password give one answer, after the same work.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login>

use axum::extract::{Request, State};
use http::StatusCode;
use ruma::{
    OwnedUserId,
    api::{client::session::login::v3, error::ErrorKind},
};

use serde::Deserialize;

use crate::{
    accounts::Login,
    app::App,
    http::{
        decode::{ApiResult, BODY_BYTES_MAX, RumaResponse, decode, read_json},
        error::ApiError,
    },
};

/// What every login names. ruma's type indexes its map by it, and panics where it is missing.
#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "type")]
    _kind: String,
}

/// Reads the request.
///
/// # Errors
/// `M_NOT_JSON` for no JSON, `M_BAD_JSON` for JSON of another shape.
async fn read(request: Request) -> Result<v3::Request, ApiError> {
    let (parts, body) = request.into_parts();
    let body = read_json(body, BODY_BYTES_MAX).await?;
    if body.is_empty() {
        return Err(ApiError::not_json("The body is not JSON"));
    }
    serde_json::from_slice::<Typed>(&body).map_err(|_| {
        ApiError::bad_json("The way of logging in (`type`) is missing or no string")
    })?;
    decode(parts, body, &[])
}

/// Logs in with a password, or with a token that another session was given.
pub(crate) async fn login_route(
    State(app): State<App>,
    request: Request,
) -> ApiResult<v3::Response> {
    let request = read(request).await?;
    let login = Login {
        device_id: request.device_id,
        display_name: request.initial_device_display_name,
        refreshable: request.refresh_token,
    };
    let session = match request.login_info {
        v3::LoginInfo::Password(password) => {
            let user = user_of(&app, &password)?;
            app.accounts.log_in(user, &password.password, login).await?
        }
        v3::LoginInfo::Token(token) => app.accounts.log_in_with_token(&token.token, login).await?,
        v3::LoginInfo::ApplicationService(_) => {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::AppserviceLoginUnsupported,
                "Application services are not supported",
            ));
        }
        _ => {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::Unknown,
                "This way of logging in is not supported",
            ));
        }
    };
    let tokens = app.tokens.issue(&session)?;
    let mut response = v3::Response::new(session.user_id, tokens.access_token, session.device_id);
    response.refresh_token = tokens.refresh_token;
    response.expires_in = tokens.expires_in;
    response.well_known = app
        .config
        .well_known
        .client_base_url
        .clone()
        .map(|url| v3::DiscoveryInfo::new(v3::HomeserverInfo::new(url)));
    Ok(RumaResponse(response))
}

/// Whom the client means, if it can be anybody here.
fn user_of(app: &App, password: &v3::Password) -> Result<Option<OwnedUserId>, ApiError> {
    if let Some(identifier) = &password.identifier {
        return Ok(app.accounts.local_user(identifier));
    }
    #[expect(deprecated, reason = "clients from before identifiers send `user`")]
    let user = password.user.as_deref();
    let user = user.ok_or_else(|| ApiError::missing_param("There is no identifier"))?;
    Ok(app.accounts.local_user_named(user))
}
