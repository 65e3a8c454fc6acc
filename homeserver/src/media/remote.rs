//! Media of other servers, fetched when they are asked for.
//!
//! Invariant: an answer is at most as long as an upload here; an address that another server points
//! to is never followed.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#content-repository>

use std::time::Duration;

use ruma::{
    ServerName,
    api::federation::authenticated_media::{FileOrLocation, get_content},
};

use super::{Media, is_media_id};
use crate::outbound::Bounds;

/// The longest that a client may make us wait.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// What the answer may have besides the file, in bytes.
const ENVELOPE_BYTES_MAX: usize = 16 * 1024;

/// A file of another server.
#[derive(Clone, Debug)]
pub struct RemoteMedia {
    /// Its bytes.
    pub file: Vec<u8>,
    /// What that server says it is.
    pub content_type: Option<String>,
    /// What that server calls it.
    pub filename: Option<String>,
}

impl Media {
    /// Fetches media of another server; none if it has no such thing or does not answer.
    pub async fn fetch(
        &self,
        server: &ServerName,
        id: &str,
        timeout: Duration,
    ) -> Option<RemoteMedia> {
        if !is_media_id(id) {
            return None;
        }
        let timeout = timeout.min(TIMEOUT_MAX);
        let mut request = get_content::v1::Request::new(id.to_owned());
        request.timeout_ms = timeout;
        let bytes_max = usize::try_from(self.upload_bytes_max()).unwrap_or(usize::MAX);
        let bounds = Bounds {
            bytes_max: bytes_max.saturating_add(ENVELOPE_BYTES_MAX),
            timeout,
        };
        let answer = self.remote.call(server, request, bounds).await.ok()?;
        match answer.content {
            FileOrLocation::File(content) => Some(RemoteMedia {
                file: content.file,
                content_type: content.content_type,
                filename: content.content_disposition.and_then(|d| d.filename),
            }),
            // A location is another server's word for where to go: not followed.
            _ => None,
        }
    }
}
