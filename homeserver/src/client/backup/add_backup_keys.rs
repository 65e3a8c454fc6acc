//! `PUT /_matrix/client/v3/room_keys/keys`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeys>

use axum::extract::State;
use ruma::api::client::backup::add_backup_keys::v3;

use super::{edit, entry};
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::BackupEdit,
};

/// Adds keys to the newest backup.
pub(crate) async fn add_backup_keys_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let mut keys = Vec::new();
    for (room, sessions) in &request.rooms {
        for (session, json) in &sessions.sessions {
            keys.push(entry(room.as_str(), session, json)?);
        }
    }
    let change = BackupEdit::Add(keys);
    let (etag, count) = edit(&app, &requester.user_id, &request.version, change).await?;
    Ok(RumaResponse(v3::Response::new(etag, count)))
}
