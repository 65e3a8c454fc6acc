//! `GET /_matrix/key/v2/query/{serverName}`: another server's keys, as this one knows them, signed by both.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2queryservername>

use axum::extract::State;
use ruma::api::federation::discovery::get_remote_server_keys::v2::{Request, Response};

use crate::{
    app::App,
    http::decode::{ApiResult, Ruma, RumaResponse},
};

/// Answers anyone, for one server; with nothing if nothing is known of that server's keys.
///
/// # Errors
/// What the database says.
pub async fn get_remote_server_keys(
    State(app): State<App>,
    Ruma(request): Ruma<Request>,
) -> ApiResult<Response> {
    let min = request.minimum_valid_until_ts;
    let found = app
        .server_keys
        .vouch(&request.server_name, Some(min))
        .await?;
    Ok(RumaResponse(Response::new(found.into_iter().collect())))
}
