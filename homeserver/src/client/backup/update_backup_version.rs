//! `PUT /_matrix/client/v3/room_keys/version/{version}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keysversionversion>

use axum::extract::State;
use ruma::api::client::backup::update_backup_version::v3;

use super::{Algorithm, no_backup, version_of};
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        error::ApiError,
        requester::Requester,
    },
    store::{BackupUpdate, UpdateBackup},
};

/// Replaces what the algorithm of a backup needs.
pub(crate) async fn update_backup_version_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let algorithm = Algorithm::read(request.algorithm.json())?;
    // "If present, must be the same as the version in the path parameter".
    if algorithm
        .version
        .is_some_and(|version| version != request.version)
    {
        return Err(ApiError::invalid_param(
            "The versions in path and body differ",
        ));
    }
    let change = UpdateBackup {
        user_id: requester.user_id,
        version: version_of(&request.version)?,
        algorithm: algorithm.name,
        auth_data: algorithm.auth_data,
    };
    match app.store.commit(change).await?.output {
        BackupUpdate::Stored => Ok(RumaResponse(v3::Response::new())),
        BackupUpdate::NotFound => Err(no_backup()),
        BackupUpdate::OtherAlgorithm => Err(ApiError::invalid_param(
            "The algorithm of a backup cannot change",
        )),
    }
}
