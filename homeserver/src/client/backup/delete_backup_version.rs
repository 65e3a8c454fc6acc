//! `DELETE /_matrix/client/v3/room_keys/version/{version}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keysversionversion>

use axum::extract::State;
use ruma::api::client::backup::delete_backup_version::v3;

use super::{no_backup, version_of};
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::DeleteBackup,
};

/// Deletes a backup with its keys.
pub(crate) async fn delete_backup_version_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let change = DeleteBackup {
        user_id: requester.user_id,
        version: version_of(&request.version)?,
    };
    if app.store.commit(change).await?.output {
        Ok(RumaResponse(v3::Response::new()))
    } else {
        Err(no_backup())
    }
}
