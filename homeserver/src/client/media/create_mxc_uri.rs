//! `POST /_matrix/media/v1/create`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create>

use axum::{extract::State, response::Response};
use ruma::api::client::media::create_mxc_uri::v1;
use serde_json::json;

use crate::{
    app::App,
    http::{
        decode::{Ruma, raw_json},
        error::ApiError,
        requester::Requester,
    },
};

/// Reserves an id for an upload to come.
pub(crate) async fn create_mxc_uri_route(
    State(app): State<App>,
    requester: Requester,
    Ruma(_): Ruma<v1::Request>,
) -> Result<Response, ApiError> {
    let (id, expires_ms) = app.media.reserve(&requester.user_id).await?;
    let uri = format!("mxc://{}/{id}", app.config.server_name);
    let body = json!({ "content_uri": uri, "unused_expires_at": expires_ms });
    Ok(raw_json(body.to_string()))
}
