//! `GET /_matrix/key/v2/server`: this server's signing keys, signed by themselves.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server>

use axum::extract::State;
use ruma::api::federation::discovery::get_server_keys::v2::{Request, Response};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
    },
    outbound::signed_document,
};

/// Answers anyone.
///
/// # Errors
/// 500 if the document cannot be made.
pub async fn get_server_keys(
    State(app): State<App>,
    Ruma(_): Ruma<Request>,
) -> ApiResult<Response> {
    let document = signed_document(app.server_keys.own()).map_err(|_| ApiError::internal())?;
    Ok(RumaResponse(Response::new(document)))
}
