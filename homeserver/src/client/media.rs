//! Media of clients.
//!
//! Invariant: a file that somebody uploaded is never something that a browser runs: it is served
//! sandboxed, unsniffed, and inline only for types on the specification's list.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#content-repository>

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ruma::{
    ServerName,
    http_headers::{ContentDisposition, ContentDispositionType},
};

use crate::{app::App, http::error::ApiError, media::FetchError};

pub(crate) mod create_content;
pub(crate) mod create_content_async;
pub(crate) mod create_mxc_uri;
pub(crate) mod get_content;
pub(crate) mod get_content_as_filename;
pub(crate) mod get_content_thumbnail;
pub(crate) mod get_media_config;
pub(crate) mod unauthenticated;

/// Types that a browser may show in place.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#serving-inline-content>
const INLINE: [&str; 26] = [
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];
/// What a file may do in a browser: nothing.
const CONTENT_SECURITY_POLICY: &str = "sandbox; default-src 'none'; script-src 'none'; \
    plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';";
/// Media never change; only the one who asked may keep them.
const CACHE_CONTROL: &str = "private, max-age=86400, immutable";

/// A file about to be served.
struct Served {
    body: Body,
    size: u64,
    content_type: Option<String>,
    filename: Option<String>,
}

impl Served {
    /// The type without its parameters, if it is one.
    fn essence(&self) -> String {
        let kind = self.content_type.as_deref().unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    }
}

/// Finds media, here or elsewhere.
///
/// # Errors
/// `M_NOT_FOUND`; `M_NOT_YET_UPLOADED` for an id that waits for its upload.
async fn find(
    app: &App,
    server: &ServerName,
    id: &str,
    timeout: Duration,
) -> Result<Served, ApiError> {
    if !app.media.is_local(server) {
        let media = app.media.fetch(server, id, timeout).await?;
        return Ok(Served {
            size: media.size(),
            content_type: media.content_type.clone(),
            filename: media.filename.clone(),
            body: Body::from_stream(media.pieces()),
        });
    }
    let row = app.media.find(id).await?.ok_or(FetchError::NotFound)?;
    if row.size.is_none() {
        return Err(FetchError::NotYetUploaded.into());
    }
    let file = app.media.open(&row).await.map_err(|error| {
        tracing::error!(%error, "a file of media cannot be read");
        ApiError::internal()
    })?;
    Ok(Served {
        size: file.size(),
        body: Body::from_stream(file.pieces()),
        content_type: row.content_type,
        filename: row.filename,
    })
}

impl IntoResponse for Served {
    fn into_response(self) -> Response {
        let essence = self.essence();
        let is_inline = INLINE.contains(&essence.as_str());
        let disposition = ContentDisposition::new(if is_inline {
            ContentDispositionType::Inline
        } else {
            ContentDispositionType::Attachment
        })
        .with_filename(self.filename);
        let kind = self.content_type.filter(|_| essence.contains('/'));
        let kind = kind.and_then(|kind| HeaderValue::from_str(&kind).ok());
        let octets = HeaderValue::from_static("application/octet-stream");
        let mut response = Response::new(self.body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, kind.unwrap_or(octets));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.size));
        if let Ok(value) = HeaderValue::from_str(&disposition.to_string()) {
            headers.insert(header::CONTENT_DISPOSITION, value);
        }
        protect(headers);
        response
    }
}

/// The headers that keep a browser from running what somebody uploaded.
fn protect(headers: &mut HeaderMap) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, CACHE_CONTROL),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "cross-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
