//! `POST /_matrix/client/v3/account/password`
//!
//! Invariant: a token alone does not suffice; the old password is asked for.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword>

use axum::extract::State;
use ruma::api::client::account::change_password::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
        uia::Operation,
    },
};

/// Replaces the password and, unless told otherwise, logs all other devices out.
pub(crate) async fn change_password_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    app.accounts.passwords().check_new(&request.new_password)?;
    let user = &requester.user_id;
    app.uia
        .require_password(Operation::ChangePassword, user, request.auth.as_ref())
        .await?;
    app.accounts
        .set_password(
            user,
            &request.new_password,
            request.logout_devices,
            Some(&requester.device_id),
        )
        .await?;
    Ok(RumaResponse(v3::Response::new()))
}
