//! `PUT /_matrix/media/v3/upload/{serverName}/{mediaId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#put_matrixmediav3uploadservernamemediaid>

use axum::{
    body::Body,
    extract::{Path, Query, State},
    response::Response,
};
use http::HeaderMap;
use ruma::ServerName;

use super::create_content::{UploadQuery, check_length, description};
use crate::{
    app::App,
    http::{decode::raw_json, error::ApiError, requester::Requester},
};

/// Keeps an upload under an id that was reserved for it.
pub(crate) async fn create_content_async_route(
    State(app): State<App>,
    requester: Requester,
    Path((server, id)): Path<(String, String)>,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let server = ServerName::parse(server)
        .map_err(|_| ApiError::invalid_param("The server name is not valid"))?;
    if !app.media.is_local(&server) {
        return Err(ApiError::not_found(
            "Media of other servers are not kept here",
        ));
    }
    check_length(&app, &headers)?;
    let upload = description(Some(id), query, &headers);
    let pieces = body.into_data_stream();
    app.media.keep(&requester.user_id, upload, pieces).await?;
    Ok(raw_json("{}"))
}
