//! `GET /_matrix/federation/v1/media/download/{mediaId}`: a file of one of our users, in a multipart answer.
//!
//! Invariant: the file is streamed and never held whole; what the client said of it cannot break the headers.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1mediadownloadmediaid>

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use ruma::{
    api::{error::ErrorKind, federation::authenticated_media::get_content::v1},
    http_headers::{ContentDisposition, ContentDispositionType},
};

use crate::{
    app::App,
    http::{error::ApiError, origin::Signed},
    store::MediaRow,
};

/// Letters of the boundary between the parts: more than a file could guess.
pub(super) const BOUNDARY_CHARS: usize = 32;

/// Serves media to servers that sign.
///
/// # Errors
/// 404 `M_NOT_FOUND`; 504 `M_NOT_YET_UPLOADED` for an id that waits for its upload.
pub(crate) async fn get_content(
    State(app): State<App>,
    Signed { request, .. }: Signed<v1::Request>,
) -> Result<Response, ApiError> {
    let row = app.media.find(&request.media_id).await?;
    let row = row.ok_or_else(|| ApiError::not_found("There are no such media"))?;
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
    let boundary = app.rng.token(BOUNDARY_CHARS);
    let (before, after) = envelope(&row, &boundary);
    let length = before.len() as u64 + file.size() + after.len() as u64;
    let piece = |text: String| stream::iter([Ok::<_, std::io::Error>(Bytes::from(text))]);
    let body = piece(before).chain(file.pieces()).chain(piece(after));
    let kind = format!("multipart/mixed; boundary={boundary}");
    let headers = [
        (header::CONTENT_TYPE, header_value(&kind)),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// What stands before and after the file.
pub(super) fn envelope(row: &MediaRow, boundary: &str) -> (String, String) {
    let kind = row
        .content_type
        .as_deref()
        .filter(|kind| is_header_value(kind));
    let kind = kind.unwrap_or("application/octet-stream");
    let disposition = ContentDisposition::new(ContentDispositionType::Attachment)
        .with_filename(row.filename.clone())
        .to_string();
    let disposition = if is_header_value(&disposition) {
        disposition
    } else {
        "attachment".to_owned()
    };
    let before = format!(
        "\r\n--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n\
         Content-Type: {kind}\r\nContent-Disposition: {disposition}\r\n\r\n"
    );
    (before, format!("\r\n--{boundary}--\r\n"))
}

fn is_header_value(text: &str) -> bool {
    HeaderValue::from_str(text).is_ok()
}

/// A header of a text that was made here.
pub(super) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("multipart/mixed"))
}

#[cfg(test)]
mod tests {
    use ruma::{
        api::{IncomingResponseExt, federation::authenticated_media::FileOrLocation},
        user_id,
    };

    use super::*;

    fn read(row: &MediaRow) -> v1::Response {
        let (before, after) = envelope(row, "XYZ");
        let body = [before.as_bytes(), b"the\r\n--file", after.as_bytes()].concat();
        let response = http::Response::builder()
            .header(header::CONTENT_TYPE, "multipart/mixed; boundary=XYZ")
            .body(&body[..])
            .unwrap();
        v1::Response::try_from_http_response(response).unwrap()
    }

    fn row(content_type: &str, filename: &str) -> MediaRow {
        MediaRow {
            id: "a".to_owned(),
            uploader: user_id!("@alice:here.org").to_owned(),
            content_type: Some(content_type.to_owned()),
            filename: Some(filename.to_owned()),
            size: Some(1),
            expires_ms: None,
        }
    }

    #[test]
    fn another_server_reads_what_was_uploaded() {
        let FileOrLocation::File(content) = read(&row("image/png", "été.png")).content else {
            panic!("no file");
        };
        assert_eq!(content.file, b"the\r\n--file");
        assert_eq!(content.content_type.as_deref(), Some("image/png"));
        let filename = content.content_disposition.unwrap().filename;
        assert_eq!(filename.as_deref(), Some("été.png"));
    }

    #[test]
    fn names_and_types_cannot_add_headers() {
        let hostile = "a\r\nX-Evil: 1\r\n\r\nfile";
        let FileOrLocation::File(content) = read(&row(hostile, hostile)).content else {
            panic!("no file");
        };
        assert_eq!(content.file, b"the\r\n--file");
        assert_eq!(
            content.content_type.as_deref(),
            Some("application/octet-stream")
        );
    }
}
