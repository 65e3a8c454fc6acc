//! `DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3pushrulesglobalkindruleid>

use axum::extract::State;
use ruma::api::client::push::delete_pushrule::v3;

use super::edit;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::PushRuleEdit,
};

/// Removes a push rule.
pub(crate) async fn delete_pushrule_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let change = PushRuleEdit::Remove {
        kind: request.kind,
        rule_id: request.rule_id,
    };
    edit(&app, &requester.user_id, change).await?;
    Ok(RumaResponse(v3::Response::new()))
}
