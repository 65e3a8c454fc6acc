//! `POST /_matrix/client/v3/logout/all`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall>

use axum::extract::State;
use ruma::api::client::session::logout_all::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Leaving,
    },
};

/// Ends all sessions of the user and deletes all devices.
pub(crate) async fn logout_all_route(
    State(app): State<App>,
    Leaving(requester): Leaving,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    app.accounts
        .delete_devices(&requester.user_id, None)
        .await?;
    Ok(RumaResponse(v3::Response::new()))
}
