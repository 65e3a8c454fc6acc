//! `DELETE /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`
//!
//! Proposal: <https://github.com/matrix-org/matrix-spec-proposals/pull/3814>

use axum::extract::State;
use ruma::api::client::dehydrated_device::delete_dehydrated_device::unstable;

use super::dehydrated_device_of;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Deletes the requester's dehydrated device; no password is asked for.
pub(crate) async fn delete_dehydrated_device_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<unstable::Request>,
) -> ApiResult<unstable::Response> {
    let user = &requester.user_id;
    let id = dehydrated_device_of(&app, user).await?.device_id;
    let devices = vec![id.clone()];
    app.accounts.delete_devices(user, Some(devices)).await?;
    Ok(RumaResponse(unstable::Response::new(id)))
}
