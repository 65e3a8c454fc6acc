//! `GET /_matrix/client/v3/admin/whois/{userId}`
//!
//! Invariant: there are no addresses and no names of programs in it, because the server keeps neither; the day on which a device
//! was last used is all that it knows.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3adminwhoisuserid>

use axum::{extract::State, response::Response};
use ruma::api::client::admin::get_user_info::v3;
use serde_json::{Map, Value, json};

use crate::{
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;

/// Lists the devices of a user, for that user or an administrator.
pub(crate) async fn get_user_info_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let user = &request.user_id;
    if requester.user_id != *user && !app.config.admin.is_admin(&requester.user_id) {
        return Err(ApiError::forbidden("You are not a server administrator"));
    }
    if app.store.account(user).await?.is_none() {
        return Err(ApiError::not_found("There is no such user"));
    }
    let mut devices = Map::new();
    for device in app.store.devices(user).await? {
        let connection = json!({"last_seen": device.seen_day.saturating_mul(DAY_MS)});
        let info: Value = json!({"sessions": [{"connections": [connection]}]});
        devices.insert(device.device_id.to_string(), info);
    }
    let answer = json!({"user_id": user, "devices": devices});
    Ok(raw_json(answer.to_string()))
}
