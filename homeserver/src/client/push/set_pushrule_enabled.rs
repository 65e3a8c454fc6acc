//! `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled>

use axum::extract::State;
use ruma::api::client::push::set_pushrule_enabled::v3;

use super::edit;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::PushRuleEdit,
};

/// Switches a push rule on or off.
pub(crate) async fn set_pushrule_enabled_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let change = PushRuleEdit::SetEnabled {
        kind: request.kind,
        rule_id: request.rule_id,
        enabled: request.enabled,
    };
    edit(&app, &requester.user_id, change).await?;
    Ok(RumaResponse(v3::Response::new()))
}
