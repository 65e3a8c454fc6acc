//! `DELETE /_matrix/client/v3/devices/{deviceId}`
//!
//! Invariant: a token alone does not suffice; the password is asked for.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3devicesdeviceid>

use axum::extract::State;
use ruma::api::client::device::delete_device::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
        uia::Operation,
    },
};

/// Deletes one of the requester's devices, with their sessions and keys.
pub(crate) async fn delete_device_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let user = &requester.user_id;
    app.uia
        .require_password(Operation::DeleteDevices, user, request.auth.as_ref())
        .await?;
    let devices = vec![request.device_id];
    app.accounts.delete_devices(user, Some(devices)).await?;
    Ok(RumaResponse(v3::Response::new()))
}
