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
use http::{HeaderMap, Uri, header};
use serde_json::json;

use crate::{
    app::App,
    http::{decode::raw_json, error::ApiError, requester::Requester},
    media::Upload,
};

/// The name that the query gives: the first, if it gives several.
fn filename_of(uri: &Uri) -> Result<Option<String>, ApiError> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Query(pairs) = pairs.map_err(|_| ApiError::invalid_param("The query is malformed"))?;
    let mut names = pairs.into_iter().filter(|(key, _)| key == "filename");
    Ok(names.next().map(|(_, name)| name))
}

/// What the client says of its upload.
///
/// # Errors
/// `M_INVALID_PARAM` for a query that cannot be read.
pub(super) fn description(
    id: Option<String>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Upload, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE);
    Ok(Upload {
        id,
        content_type: content_type
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        filename: filename_of(uri)?,
    })
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
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    check_length(&app, &headers)?;
    let upload = description(None, &uri, &headers)?;
    let pieces = body.into_data_stream();
    let id = app.media.keep(&requester.user_id, upload, pieces).await?;
    let uri = format!("mxc://{}/{id}", app.config.server_name);
    Ok(raw_json(json!({ "content_uri": uri }).to_string()))
}
