//! `PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use axum::extract::State;
use ruma::api::client::dehydrated_device::put_dehydrated_device::unstable;

use crate::{
    accounts::keys::{NewDehydratedDevice, Upload},
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Stores a dehydrated device of the requester, in place of the one before.
pub(crate) async fn put_dehydrated_device_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<unstable::Request>,
) -> ApiResult<unstable::Response> {
    let keys = Upload {
        device_keys: Some(request.device_keys.json()),
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
    let device = NewDehydratedDevice {
        device_id: &request.device_id,
        display_name: request.initial_device_display_name.clone(),
        data: request.device_data.json(),
        keys,
    };
    let now_ms = app.clock.now_ms();
    app.keys
        .dehydrate(&requester.user_id, device, now_ms)
        .await?;
    Ok(RumaResponse(unstable::Response::new(request.device_id)))
}
