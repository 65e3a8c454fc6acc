//! `POST /_matrix/client/v3/keys/query`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery>

use std::{collections::BTreeMap, time::Duration};

use axum::extract::State;
use ruma::{OwnedServerName, api::client::keys::get_keys::v3, serde::Raw};
use serde_json::{Value, json, value::RawValue};

use crate::{
    accounts::keys::KeyQuery,
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// How long other servers are waited for, unless the client says.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many users one request may ask about.
const USERS_MAX: usize = 10_000;

/// Shows public keys of users.
pub(crate) async fn get_keys_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    if request.device_keys.len() > USERS_MAX {
        return Err(ApiError::too_large());
    }
    let query = KeyQuery {
        users: request.device_keys,
        timeout: request.timeout.unwrap_or(TIMEOUT),
    };
    let answer = app.keys.query(Some(&requester.user_id), query).await?;
    let mut response = v3::Response::new();
    response.device_keys = answer
        .device_keys
        .into_iter()
        .map(|(user, devices)| (user, raw(devices)))
        .collect();
    response.master_keys = raw(answer.master_keys);
    response.self_signing_keys = raw(answer.self_signing_keys);
    response.user_signing_keys = raw(answer.user_signing_keys);
    response.failures = failures(answer.failures);
    Ok(RumaResponse(response))
}

fn raw<K: Ord, T>(objects: BTreeMap<K, Box<RawValue>>) -> BTreeMap<K, Raw<T>> {
    objects
        .into_iter()
        .map(|(key, json)| (key, Raw::from_json(json)))
        .collect()
}

/// Servers that did not answer, in the form of `failures`.
pub(super) fn failures(servers: Vec<OwnedServerName>) -> BTreeMap<String, Value> {
    let failure = json!({"errcode": "M_UNKNOWN", "error": "The server did not answer"});
    servers
        .into_iter()
        .map(|server| (server.to_string(), failure.clone()))
        .collect()
}
