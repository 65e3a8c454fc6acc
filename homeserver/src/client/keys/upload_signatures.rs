//! `POST /_matrix/client/v3/keys/signatures/upload`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload>

use axum::{extract::State, response::Response};
use ruma::api::client::keys::upload_signatures::v3;
use serde_json::{Map, Value, json};

use crate::{
    accounts::keys::KeysError,
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// Stores signatures that the requester has made over keys.
pub(crate) async fn upload_signatures_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let mut signed = Vec::new();
    for (user, keys) in &request.signed_keys {
        signed.extend(keys.iter().map(|(name, json)| (&**user, name, json)));
    }
    let failures = app
        .keys
        .upload_signatures(&requester.user_id, signed)
        .await?;
    let failures: Map<String, Value> = failures
        .into_iter()
        .map(|(user, keys)| {
            let keys: Map<String, Value> = keys
                .into_iter()
                .map(|(name, error)| (name, failure(&error)))
                .collect();
            (user.to_string(), keys.into())
        })
        .collect();
    Ok(raw_json(json!({ "failures": failures }).to_string()))
}

fn failure(error: &KeysError) -> Value {
    let errcode = match error {
        KeysError::InvalidSignature => "M_INVALID_SIGNATURE",
        _ => "M_INVALID_PARAM",
    };
    json!({"errcode": errcode, "error": error.to_string()})
}
