//! `GET /_matrix/client/v3/devices`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devices>

use axum::extract::State;
use ruma::api::client::device::get_devices::v3;

use super::to_wire;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Lists the requester's devices.
pub(crate) async fn get_devices_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let devices = app.store.devices(&requester.user_id).await?;
    let devices = devices.into_iter().map(to_wire).collect();
    Ok(RumaResponse(v3::Response::new(devices)))
}
