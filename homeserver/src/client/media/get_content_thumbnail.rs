//! `GET /_matrix/client/v1/media/thumbnail/{serverName}/{mediaId}`
//!
//! Invariant: see `media/thumbnail.rs`; what cannot be decoded safely has no thumbnail.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1mediathumbnailservernamemediaid>

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use ruma::{UInt, api::client::authenticated_media::get_content_thumbnail::v1, media::Method};

use super::{Served, find};
use crate::{
    app::App,
    http::{
        decode::{Ruma, read_body},
        error::ApiError,
        requester::Requester,
    },
    media::{FetchError, SOURCE_BYTES_MAX, ThumbnailSize},
};

/// Serves an image made small.
pub(crate) async fn get_content_thumbnail_route(
    State(app): State<App>,
    _: Requester,
    Ruma(request): Ruma<v1::Request>,
) -> Result<Response, ApiError> {
    let size = ThumbnailSize {
        width: side(request.width),
        height: side(request.height),
        crop: request.method == Some(Method::Crop),
        animated: request.animated == Some(true),
    };
    let timeout = request.timeout_ms;
    let media = find(&app, &request.server_name, &request.media_id, timeout).await?;
    let kind = media.essence();
    if media.size > SOURCE_BYTES_MAX as u64 {
        // Of other servers' media it is not the request that is too large.
        return Err(match app.media.is_local(&request.server_name) {
            true => ApiError::too_large(),
            false => FetchError::TooLarge.into(),
        });
    }
    let file = read_body(media.body, SOURCE_BYTES_MAX).await?;
    let thumbnail = app.media.thumbnail(&kind, file, size).await?;
    let served = Served {
        size: thumbnail.file.len() as u64,
        body: Body::from(thumbnail.file),
        content_type: Some(thumbnail.content_type.to_owned()),
        filename: None,
    };
    Ok(served.into_response())
}

fn side(length: UInt) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
