//! `PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleid>

use axum::extract::State;
use passeur_protocol::push::is_usable_pattern;
use ruma::{api::client::push::set_pushrule::v3, push::NewPushRule};
use serde_json::{Map, Value};

use super::edit;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, BODY_BYTES_MAX, RumaResponse, decode, path_arguments, read_json},
        error::ApiError,
        requester::Requester,
    },
    store::PushRuleEdit,
};

/// Adds or replaces a push rule, at the place wished for.
pub(crate) async fn set_pushrule_route(
    State(app): State<App>,
    requester: Requester,
    request: axum::extract::Request,
) -> ApiResult<v3::Response> {
    let request = read(request).await?;
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

/// Decodes the request, in which only `actions` is required: "A rule with no conditions always matches."
async fn read(request: axum::extract::Request) -> Result<v3::Request, ApiError> {
    let (mut parts, body) = request.into_parts();
    let arguments = path_arguments(&mut parts, &()).await?;
    let mut body = read_json(body, BODY_BYTES_MAX).await?;
    let has_conditions = arguments
        .first()
        .is_some_and(|kind| kind == "override" || kind == "underride");
    if has_conditions
        && let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(&body)
        && !object.contains_key("conditions")
    {
        object.insert("conditions".to_owned(), Value::Array(Vec::new()));
        body = Value::Object(object).to_string().into();
    }
    decode(parts, body, &arguments)
}
