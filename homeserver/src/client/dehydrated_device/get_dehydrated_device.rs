//! `GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use axum::extract::State;
use ruma::{api::client::dehydrated_device::get_dehydrated_device::unstable, serde::Raw};

use super::dehydrated_device_of;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Gives the requester's dehydrated device, for one of their clients to wake it.
pub(crate) async fn get_dehydrated_device_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<unstable::Request>,
) -> ApiResult<unstable::Response> {
    let device = dehydrated_device_of(&app, &requester.user_id).await?;
    let data = Raw::from_json(device.data);
    Ok(RumaResponse(unstable::Response::new(
        device.device_id,
        data,
    )))
}
