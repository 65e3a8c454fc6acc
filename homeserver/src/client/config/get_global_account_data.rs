//! `GET /_matrix/client/v3/user/{userId}/account_data/{type}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridaccount_datatype>

use std::collections::BTreeMap;

use axum::extract::State;
use ruma::{
    api::client::config::get_global_account_data::v3, events::GlobalAccountDataEventType,
    serde::Raw,
};

use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
};

/// Shows an item of the requester's account data.
pub(crate) async fn get_global_account_data_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    requester.must_be(&request.user_id)?;
    let room = None;
    let event_type = request.event_type.to_string();
    let content = if request.event_type == GlobalAccountDataEventType::PushRules {
        // As sync tells them: with the rules that the server has learned since they were stored.
        let rules = app.store.push_rules(&requester.user_id).await?;
        let rules = BTreeMap::from([("global", &*rules)]);
        serde_json::to_string(&rules).map_err(|_| ApiError::internal())?
    } else {
        app.store
            .account_datum(&requester.user_id, room, &event_type)
            .await?
            .ok_or_else(|| ApiError::not_found("There is no such account data"))?
    };
    let content = Raw::from_json_string(content).map_err(|_| ApiError::internal())?;
    Ok(RumaResponse(v3::Response::new(content)))
}
