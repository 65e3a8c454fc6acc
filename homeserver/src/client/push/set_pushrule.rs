//! `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleid>

use axum::extract::State;
use passeur_protocol::push::is_usable_pattern;
use ruma::{api::client::push::set_pushrule::v3, push::NewPushRule};

use super::edit;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    store::PushRuleEdit,
};

/// Adds or replaces a push rule, at the place wished for.
pub(crate) async fn set_pushrule_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    if let NewPushRule::Content(rule) = &request.rule
        && !is_usable_pattern(&rule.pattern)
    {
        return Err(ApiError::invalid_param("The pattern cannot be matched"));
    }
    let change = PushRuleEdit::Insert {
        rule: Box::new(request.rule),
        after: request.after,
        before: request.before,
    };
    edit(&app, &requester.user_id, change).await?;
    Ok(RumaResponse(v3::Response::new()))
}
