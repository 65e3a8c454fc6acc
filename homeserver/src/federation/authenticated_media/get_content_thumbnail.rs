//! `GET /_matrix/federation/v1/media/thumbnail/{mediaId}`: an image of one of our users made small, in a multipart answer.
//!
//! Invariant: see `media/thumbnail.rs`.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediathumbnailmediaid>

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use ruma::{
    UInt,
    api::{error::ErrorKind, federation::authenticated_media::get_content_thumbnail::v1},
    media::Method,
};

use super::get_content::{BOUNDARY_CHARS, envelope, header_value};
use crate::{
    app::App,
    http::{decode::read_body, error::ApiError, origin::Signed},
    media::{SOURCE_BYTES_MAX, ThumbnailSize},
};

/// Serves an image made small to servers that sign.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 504 `M_NOT_YET_UPLOADED`; 400 for what is no image; 413 `M_TOO_LARGE`.
pub(crate) async fn get_content_thumbnail(
    State(app): State<App>,
    Signed { request, .. }: Signed<v1::Request>,
) -> Result<Response, ApiError> {
    let row = app.media.find(&request.media_id).await?;
    let mut row = row.ok_or_else(|| ApiError::not_found("There are no such media"))?;
    if row.size.is_none() {
        return Err(ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::NotYetUploaded,
            "The media have not been uploaded yet",
        ));
    }
    let file = app.media.open(&row).await.map_err(|error| {
        tracing::error!(%error, "a file of media cannot be read");
        ApiError::internal()
    })?;
    let file = read_body(Body::from_stream(file.pieces()), SOURCE_BYTES_MAX).await?;
    let size = ThumbnailSize {
        width: side(request.width),
        height: side(request.height),
        crop: request.method == Some(Method::Crop),
        animated: request.animated == Some(true),
    };
    let kind = row.content_type.as_deref().unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let thumbnail = app
        .media
        .thumbnail(&essence.to_ascii_lowercase(), file, size)
        .await?;
    row.content_type = Some(thumbnail.content_type.to_owned());
    row.filename = None;
    let boundary = app.rng.token(BOUNDARY_CHARS);
    let (before, after) = envelope(&row, &boundary);
    let body = [before.as_bytes(), &thumbnail.file, after.as_bytes()].concat();
    let kind = format!("multipart/mixed; boundary={boundary}");
    Ok(([(header::CONTENT_TYPE, header_value(&kind))], body).into_response())
}

fn side(length: UInt) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
