//! `POST /_matrix/media/v3/upload`
//!
//! Invariant: the body goes to disk piece by piece; it is never whole in memory.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload>

use axum::{
    body::Body,
    extract::{Query, State},
    response::Response,
};
use http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::json;

use crate::{
    app::App,
    http::{decode::raw_json, error::ApiError, requester::Requester},
    media::Upload,
};

/// What the query may say.
#[derive(Debug, Deserialize)]
pub(crate) struct UploadQuery {
    pub(super) filename: Option<String>,
}

/// What the client says of its upload.
pub(super) fn description(id: Option<String>, query: UploadQuery, headers: &HeaderMap) -> Upload {
    let content_type = headers.get(header::CONTENT_TYPE);
    Upload {
        id,
        content_type: content_type
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        filename: query.filename,
    }
}

/// Refuses early what says itself that it is too long.
///
/// # Errors
/// `M_TOO_LARGE`.
pub(super) fn check_length(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > app.media.upload_bytes_max()) {
        return Err(ApiError::too_large());
    }
    Ok(())
}

/// Keeps an upload.
pub(crate) async fn create_content_route(
    State(app): State<App>,
    requester: Requester,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_length(&app, &headers)?;
    let upload = description(None, query, &headers);
    let pieces = body.into_data_stream();
    let id = app.media.keep(&requester.user_id, upload, pieces).await?;
    let uri = format!("mxc://{}/{id}", app.config.server_name);
    Ok(raw_json(json!({ "content_uri": uri }).to_string()))
}
