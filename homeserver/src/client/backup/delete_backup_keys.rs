//! `DELETE /_matrix/client/v3/room_keys/keys`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeys>

use axum::extract::State;
use ruma::api::client::backup::delete_backup_keys::v3;

use super::edit;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::BackupEdit,
};

/// Deletes keys from a backup.
pub(crate) async fn delete_backup_keys_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let which = Default::default();
    let change = BackupEdit::Delete(which);
    let (etag, count) = edit(&app, &requester.user_id, &request.version, change).await?;
    Ok(RumaResponse(v3::Response::new(etag, count)))
}
