//! `POST /_matrix/client/v3/keys/claim`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim>

use std::{collections::BTreeMap, time::Duration};

use axum::{extract::State, response::Response};
use ruma::api::client::keys::claim_keys::v3;
use serde::Serialize;
use serde_json::Value;

use super::get_keys::failures;
use crate::{
    accounts::keys::ClaimedKeys,
    app::App,
    http::{
        decode::{Ruma, serialized},
        error::ApiError,
        requester::Requester,
    },
};

/// How long other servers are waited for, unless the client says.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many keys one request may claim.
const CLAIMS_MAX: usize = 10_000;

/// What is answered: keys as they came, which a tree of values may not be able to hold.
#[derive(Debug, Serialize)]
struct Answer {
    one_time_keys: ClaimedKeys,
    failures: BTreeMap<String, Value>,
}

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
    serialized(&Answer {
        one_time_keys: answer.keys,
        failures: failures(answer.failures),
    })
}
