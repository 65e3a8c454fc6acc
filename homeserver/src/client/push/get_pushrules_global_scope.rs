//! `GET /_matrix/client/v3/pushrules/global/`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal>

use axum::extract::State;
use ruma::api::client::push::get_pushrules_global_scope::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Shows the global push rules, which are all.
pub(crate) async fn get_pushrules_global_scope_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let rules = app.store.push_rules(&requester.user_id).await?;
    Ok(RumaResponse(v3::Response::new((*rules).clone())))
}
