//! `GET /_matrix/client/v1/media/download/{serverName}/{mediaId}`
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediadownloadservernamemediaid>

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use ruma::api::client::authenticated_media::get_content::v1;

use super::find;
use crate::{
    app::App,
    http::{decode::Ruma, error::ApiError, requester::Requester},
};

/// Serves media.
pub(crate) async fn get_content_route(
    State(app): State<App>,
    _: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> Result<Response, ApiError> {
    let timeout = request.timeout_ms;
    let media = find(&app, &request.server_name, &request.media_id, timeout).await?;
    Ok(media.into_response())
}
