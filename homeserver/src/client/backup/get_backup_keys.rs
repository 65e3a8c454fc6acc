//! `GET /_matrix/client/v3/room_keys/keys`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeys>

use axum::{extract::State, response::Response};
use ruma::api::client::backup::get_backup_keys::v3;
use serde_json::{Map, Value, json};

use super::read;
use crate::{
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// Shows keys in a backup, as they were sent.
pub(crate) async fn get_backup_keys_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let which = Default::default();
    let entries = read(&app, &requester.user_id, &request.version, which).await?;
    let rooms: Map<String, Value> = entries
        .into_iter()
        .map(|(room, sessions)| (room, json!({ "sessions": sessions })))
        .collect();
    Ok(raw_json(json!({ "rooms": rooms }).to_string()))
}
