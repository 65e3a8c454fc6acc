//! `POST /_matrix/client/v3/keys/device_signing/upload`
//!
//! Invariant: keys that are there are replaced only by who knows the password.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload>

use axum::extract::State;
use ruma::api::client::keys::upload_signing_keys::v3;

use crate::{
    accounts::keys::SigningKeysUpload,
    app::App,
    http::{
        decode::{ApiResult, Ruma, RumaResponse},
        requester::Requester,
        uia::Operation,
    },
};

/// Stores the requester's cross-signing keys.
pub(crate) async fn upload_signing_keys_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(request): Ruma<v3::Request>,
) -> ApiResult<v3::Response> {
    let user = &requester.user_id;
    let upload = SigningKeysUpload {
        master: request.master_key.as_ref().map(|key| key.json()),
        self_signing: request.self_signing_key.as_ref().map(|key| key.json()),
        user_signing: request.user_signing_key.as_ref().map(|key| key.json()),
    };
    if !app.keys.is_first_or_same(user, upload).await? {
        app.uia
            .require_password(Operation::UploadSigningKeys, user, request.auth.as_ref())
            .await?;
    }
    app.keys.upload_signing_keys(user, upload).await?;
    Ok(RumaResponse(v3::Response::new()))
}
