//! `POST /_matrix/client/v3/room_keys/version`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3room_keysversion>

use axum::extract::State;
use ruma::api::client::backup::create_backup_version::v3;

use super::Algorithm;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
    },
    store::CreateBackup,
};

/// Begins a new backup.
pub(crate) async fn create_backup_version_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let algorithm = Algorithm::read(request.algorithm.json())?;
    let change = CreateBackup {
        user_id: requester.user_id,
        algorithm: algorithm.name,
        auth_data: algorithm.auth_data,
    };
    let version = app.store.commit(change).await?.output;
    Ok(RumaResponse(v3::Response::new(version.to_string())))
}
