//! `PUT /_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeysroomidsessionid>

use axum::extract::State;
use ruma::api::client::backup::add_backup_keys_for_session::v3;

use super::{edit, entry};
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::BackupEdit,
};

/// Adds keys of a session to the newest backup.
pub(crate) async fn add_backup_keys_for_session_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let room = request.room_id.as_str();
    let keys = vec![entry(room, &request.session_id, &request.session_data)?];
    let change = BackupEdit::Add(keys);
    let (etag, count) = edit(&app, &requester.user_id, &request.version, change).await?;
    Ok(RumaResponse(v3::Response::new(etag, count)))
}
