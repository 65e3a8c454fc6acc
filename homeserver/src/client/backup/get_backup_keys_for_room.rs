//! `GET /_matrix/client/v3/room_keys/keys/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomid>

use axum::{extract::State, response::Response};
use ruma::api::client::backup::get_backup_keys_for_room::v3;

use super::{Sessions, read};
use crate::{
    app::App,
    http::{
        decode::{Ruma, serialized},
        error::ApiError,
        requester::Requester,
    },
    store::KeySelection,
};

/// Shows keys of a room in a backup, as they were sent.
pub(crate) async fn get_backup_keys_for_room_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let which = KeySelection {
        room_id: Some(request.room_id.to_string()),
        session_id: None,
    };
    let entries = read(&app, &requester.user_id, &request.version, which).await?;
    let sessions = entries.into_values().next().unwrap_or_default();
    serialized(&Sessions { sessions })
}
