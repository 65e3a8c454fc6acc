//! `GET /_matrix/client/v3/room_keys/version`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversion>

use axum::{extract::State, response::Response};
use ruma::api::client::backup::get_latest_backup_info::v3;

use super::{describe, no_backup};
use crate::{
    app::App,
    http::{
        decode::{Ruma, serialized},
        error::ApiError,
        requester::Requester,
    },
};

/// Describes the newest version of the backup.
pub(crate) async fn get_latest_backup_info_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<v3::Request>,
) -> Result<Response, ApiError> {
    let user = &requester.user_id;
    let backup = app.store.backup(user, None).await?.ok_or_else(no_backup)?;
    serialized(&describe(&app, user, &backup).await?)
}
