//! `GET /_matrix/client/v3/room_keys/version/{version}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversionversion>

use axum::{extract::State, response::Response};
use ruma::api::client::backup::get_backup_info::v3;

use super::{describe, existing};
use crate::{
    app::App,
    http::{
        decode::{Ruma, serialized},
        error::ApiError,
        requester::Requester,
    },
};

/// Describes a version of the backup.
pub(crate) async fn get_backup_info_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let user = &requester.user_id;
    let backup = existing(&app, user, &request.version).await?;
    serialized(&describe(&app, user, &backup).await?)
}
