//! `GET /_matrix/client/v1/admin/suspend/{userId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1adminsuspenduserid>

use axum::extract::State;
use ruma::api::client::admin::is_user_suspended::v1;

use super::account_for_admin;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Whether an account is suspended.
pub(crate) async fn is_user_suspended_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> ApiResult<v1::Response> {
    let account = account_for_admin(&app, &requester, &request.user_id).await?;
    Ok(RumaResponse(v1::Response::new(account.suspended)))
}
