//! `GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidactions>

use axum::extract::State;
use ruma::api::client::push::get_pushrule_actions::v3;

use super::no_such_rule;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
};

/// Shows what a push rule does.
pub(crate) async fn get_pushrule_actions_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let rules = app.store.push_rules(&requester.user_id).await?;
    let rule = rules
        .get(request.kind, &request.rule_id)
        .ok_or_else(no_such_rule)?;
    Ok(RumaResponse(v3::Response::new(rule.actions().to_owned())))
}
