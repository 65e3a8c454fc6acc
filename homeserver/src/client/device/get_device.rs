//! `GET /_matrix/client/v3/devices/{deviceId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devicesdeviceid>

use axum::extract::State;
use ruma::api::client::device::get_device::v3;

use super::to_wire;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Shows one of the requester's devices.
pub(crate) async fn get_device_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let devices = app.store.devices(&requester.user_id).await?;
    let device = devices
        .into_iter()
        .find(|device| device.device_id == request.device_id)
        .ok_or_else(|| ApiError::not_found("There is no such device"))?;
    Ok(RumaResponse(v3::Response::new(to_wire(device))))
}
