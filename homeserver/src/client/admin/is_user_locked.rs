//! `GET /_matrix/client/v1/admin/lock/{userId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1adminlockuserid>

use axum::extract::State;
use ruma::api::client::admin::is_user_locked::v1;

use super::account_for_admin;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::AccountState,
};

/// Whether an account is locked.
pub(crate) async fn is_user_locked_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> ApiResult<v1::Response> {
    let account = account_for_admin(&app, &requester, &request.user_id).await?;
    let locked = account.state == AccountState::Locked;
    Ok(RumaResponse(v1::Response::new(locked)))
}
