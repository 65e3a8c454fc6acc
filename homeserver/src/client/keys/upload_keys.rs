//! `POST /_matrix/client/v3/keys/upload`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload>

use axum::extract::State;
use ruma::{UInt, api::client::keys::upload_keys::v3};

use crate::{
    accounts::keys::Upload,
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Stores keys of the requester's device, and counts what is left to give out.
pub(crate) async fn upload_keys_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let upload = Upload {
        device_keys: request.device_keys.as_ref().map(|keys| keys.json()),
        one_time_keys: request
            .one_time_keys
            .iter()
            .map(|(id, key)| (id.as_str(), key.json()))
            .collect(),
        fallback_keys: request
            .fallback_keys
            .iter()
            .map(|(id, key)| (id.as_str(), key.json()))
            .collect(),
    };
    let counts = app
        .keys
        .upload(&requester.user_id, &requester.device_id, upload)
        .await?;
    let counts = counts
        .one_time
        .iter()
        .map(|(algorithm, count)| {
            let count = UInt::try_from(*count).unwrap_or(UInt::MAX);
            (algorithm.as_str().into(), count)
        })
        .collect();
    Ok(RumaResponse(v3::Response::new(counts)))
}
