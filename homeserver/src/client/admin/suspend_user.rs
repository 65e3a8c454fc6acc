//! `PUT /_matrix/client/v1/admin/suspend/{userId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv1adminsuspenduserid>

use axum::extract::State;
use ruma::api::client::admin::suspend_user::v1;

use super::account_for_admin;
use crate::{
    accounts::admin,
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Suspends an account, or ends that.
pub(crate) async fn suspend_user_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> ApiResult<v1::Response> {
    account_for_admin(&app, &requester, &request.user_id).await?;
    admin::set_suspended(&app.accounts, &request.user_id, request.suspended).await?;
    Ok(RumaResponse(v1::Response::new(request.suspended)))
}
