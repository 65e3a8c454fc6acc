//! `GET /_matrix/client/v3/pushrules/`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules>

use axum::extract::State;
use ruma::api::client::push::get_pushrules_all::v3;

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Shows all push rules.
pub(crate) async fn get_pushrules_all_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let rules = app.store.push_rules(&requester.user_id).await?;
    Ok(RumaResponse(v3::Response::new((*rules).clone())))
}
