//! `DELETE /_matrix/client/v3/room_keys/keys/{roomId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeysroomid>

use axum::extract::State;
use ruma::api::client::backup::delete_backup_keys_for_room::v3;

use super::edit;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::{BackupEdit, KeySelection},
};

/// Deletes keys of a room from a backup.
pub(crate) async fn delete_backup_keys_for_room_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let which = KeySelection {
        room_id: Some(request.room_id.to_string()),
        session_id: None,
    };
    let change = BackupEdit::Delete(which);
    let (etag, count) = edit(&app, &requester.user_id, &request.version, change).await?;
    Ok(RumaResponse(v3::Response::new(etag, count)))
}
