//! `GET /_matrix/client/v1/media/config`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediaconfig>

use axum::{extract::State, response::Response};
use serde_json::json;

use crate::{
    app::App,
    http::{decode::raw_json, error::ApiError, requester::Requester},
};

/// Says how large an upload may be; at the older path as well.
pub(crate) async fn get_media_config_route(
    State(app): State<App>,
    _: Requester,
) -> Result<Response, ApiError> {
    let limit = app.media.upload_bytes_max();
    Ok(raw_json(json!({ "m.upload.size": limit }).to_string()))
}
