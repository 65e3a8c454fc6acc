//! `GET /_matrix/key/v2/query/{serverName}`: another server's keys, as this one knows them, signed by both.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2queryservername>

use axum::extract::State;
use ruma::api::federation::discovery::get_remote_server_keys::v2::{Request, Response};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
};

/// Answers anyone, for one server.
///
/// # Errors
/// 404 `M_NOT_FOUND` if nothing is known of that server's keys.
pub async fn get_remote_server_keys(
    State(app): State<App>,
    Ruma(request): Ruma<Request>,
) -> ApiResult<Response> {
    let min = request.minimum_valid_until_ts;
    let found = app
        .server_keys
        .vouch(&request.server_name, Some(min))
        .await?;
    let document = found.ok_or_else(|| ApiError::not_found("No keys of this server are known"))?;
    Ok(RumaResponse(Response::new(vec![document])))
}
