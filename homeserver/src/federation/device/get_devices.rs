//! `GET /_matrix/federation/v1/user/devices/{userId}`: all devices of a user, as one list with a version.
//!
//! Invariant: a list is never older than its version says. Device names are not told.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1userdevicesuserid>

use axum::extract::State;
use ruma::{
    UInt,
    api::federation::device::get_devices::v1::{Request, Response, UserDevice},
    serde::Raw,
};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, RumaResponse},
        error::ApiError,
        origin::Signed,
    },
    store::KeyUsage,
};

/// Answers any server where profiles are public, and elsewhere those that share a room with the user.
///
/// # Errors
/// 404 `M_NOT_FOUND` for a user who is not ours, or of whom the server is told nothing: the answer tells not which.
pub(crate) async fn get_devices(
    State(app): State<App>,
    Signed { origin, request }: Signed<Request>,
) -> ApiResult<Response> {
    let user = request.user_id;
    let is_ours = user.server_name() == app.config.server_name;
    let is_public = app.config.profiles.public;
    let mut is_told = is_ours
        && (is_public && app.accounts.is_active(&user).await?
            || app.store.server_shares_with(&origin, &user).await?);
    if is_ours && !is_told && app.rooms.joins_settled(&user).await {
        // The room's server knows of the user's join a moment before this one does.
        is_told = app.store.server_shares_with(&origin, &user).await?;
    }
    if !is_told {
        return Err(ApiError::not_found("No such user is known to you"));
    }
    let (newest, keys) = app.store.device_list(&user).await?;
    let stream_id = newest.and_then(|at| UInt::try_from(at).ok());
    let mut response = Response::new(user, stream_id.unwrap_or_default());
    let devices = keys.devices.iter();
    response.devices = devices
        .map(|(device, keys)| UserDevice::new(device.clone(), Raw::from_json(keys.clone())))
        .collect();
    let key_of = |usage| {
        keys.cross_signing
            .get(&usage)
            .map(|key| key.content.clone())
    };
    response.master_key = key_of(KeyUsage::Master).map(Raw::from_json);
    response.self_signing_key = key_of(KeyUsage::SelfSigning).map(Raw::from_json);
    Ok(RumaResponse(response))
}
