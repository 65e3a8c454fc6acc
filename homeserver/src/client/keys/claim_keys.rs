//! `POST /_matrix/client/v3/keys/claim`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim>

use std::time::Duration;

use axum::{extract::State, response::Response};
use ruma::api::client::keys::claim_keys::v3;
use serde_json::json;

use super::get_keys::failures;
use crate::{
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// How long other servers are waited for, unless the client says.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many keys one request may claim.
const CLAIMS_MAX: usize = 10_000;

/// Gives out one key for each device named. Written by hand, since keys are kept as they came.
pub(crate) async fn claim_keys_route(
    State(app): State<App>,
    _: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let claims: usize = request
        .one_time_keys
        .values()
        .map(|devices| devices.len())
        .sum();
    if claims > CLAIMS_MAX {
        return Err(ApiError::too_large());
    }
    let timeout = request.timeout.unwrap_or(TIMEOUT);
    let answer = app.keys.claim(request.one_time_keys, timeout).await?;
    let body = json!({
        "one_time_keys": answer.keys,
        "failures": failures(answer.failures),
    });
    Ok(raw_json(body.to_string()))
}
