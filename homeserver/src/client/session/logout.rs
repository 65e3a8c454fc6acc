//! `POST /_matrix/client/v3/logout`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout>

use axum::extract::State;
use ruma::api::client::session::logout::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Leaving,
    },
};

/// Ends the session and deletes its device.
pub(crate) async fn logout_route(
    State(app): State<App>,
    Leaving(requester): Leaving,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let devices = Some(vec![requester.device_id]);
    app.accounts
        .delete_devices(&requester.user_id, devices)
        .await?;
    Ok(RumaResponse(v3::Response::new()))
}
