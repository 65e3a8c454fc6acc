//! `POST /_matrix/client/v3/room_keys/version`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3room_keysversion>

use axum::extract::{Request, State};
use ruma::api::client::backup::create_backup_version::v3;
use serde_json::value::RawValue;

use super::Algorithm;
use crate::{
    app::App,
    http::{
        decode::{ApiResult, BODY_BYTES_MAX, RumaResponse, parse_json, read_json},
        requester::Requester,
    },
    store::CreateBackup,
};

/// Begins a new backup. The body is read here: ruma's type takes it as it is, so that it would find nothing missing in
/// one that is empty.
pub(crate) async fn create_backup_version_route(
    State(app): State<App>,
    requester: Requester,
    request: Request,
) -> ApiResult<v3::Response> {
    let body = read_json(request.into_body(), BODY_BYTES_MAX).await?;
    let body: Box<RawValue> = parse_json(&body)?;
    let algorithm = Algorithm::read(&body)?;
    let change = CreateBackup {
        user_id: requester.user_id,
        algorithm: algorithm.name,
        auth_data: algorithm.auth_data,
    };
    let version = app.store.commit(change).await?.output;
    Ok(RumaResponse(v3::Response::new(version.to_string())))
}
