//! `GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}`
//!
//! Invariant: nothing is decoded. Decoders of images are an attack surface, so a small image is
//! served as it is, which the specification allows, and anything else is refused.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid>

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use ruma::api::{client::authenticated_media::get_content_thumbnail::v1, error::ErrorKind};

use super::find;
use crate::{
    app::App,
    http::{decode::Ruma, error::ApiError, requester::Requester},
};

/// The largest image that stands for its own thumbnail, in bytes.
const ORIGINAL_BYTES_MAX: u64 = 2 << 20;
/// Images that stand for their own thumbnail.
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Serves a small image in the place of its thumbnail.
pub(crate) async fn get_content_thumbnail_route(
    State(app): State<App>,
    _: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> Result<Response, ApiError> {
    let timeout = request.timeout_ms;
    let media = find(&app, &request.server_name, &request.media_id, timeout).await?;
    if media.size > ORIGINAL_BYTES_MAX || !IMAGES.contains(&media.essence().as_str()) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            ErrorKind::Unknown,
            "There is no thumbnail of these media",
        ));
    }
    Ok(media.into_response())
}
