//! `PUT /_matrix/client/v3/devices/{deviceId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3devicesdeviceid>

use axum::extract::State;
use ruma::api::client::device::update_device::v3;

use crate::{
    accounts::truncate_device_name,
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    store::RenameDevice,
};

/// Renames one of the requester's devices.
pub(crate) async fn update_device_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let change = RenameDevice {
        user_id: requester.user_id,
        device_id: request.device_id,
        display_name: request.display_name.map(truncate_device_name),
    };
    if app.store.commit(change).await?.output {
        Ok(RumaResponse(v3::Response::new()))
    } else {
        Err(ApiError::not_found("There is no such device"))
    }
}
