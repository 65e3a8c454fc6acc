//! `GET /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomidsessionid>

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use ruma::api::client::backup::get_backup_keys_for_session::v3;

use super::read;
use crate::{
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
    store::KeySelection,
};

/// Shows keys of a session in a backup, as they were sent.
pub(crate) async fn get_backup_keys_for_session_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let which = KeySelection {
        room_id: Some(request.room_id.to_string()),
        session_id: Some(request.session_id.clone()),
    };
    let entries = read(&app, &requester.user_id, &request.version, which).await?;
    let key = entries
        .into_values()
        .flat_map(BTreeMap::into_values)
        .next()
        .ok_or_else(|| ApiError::not_found("The backup has no such key"))?;
    Ok(raw_json(key.get().to_owned()))
}
