//! Media of other servers, fetched when they are asked for.
//!
//! Invariant: an answer is at most as long as an upload here, and all that are held at once take no
//! more memory than [`UNITS_MAX`] says, however slowly they are read; an address that another
//! server points to is asked once, over HTTPS, and only if it is one that other servers may have.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#content-repository>

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};

use http::{Response, StatusCode, header};
use ruma::{
    ServerName,
    api::federation::authenticated_media::{FileOrLocation, get_content},
    http_headers::ContentDisposition,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{Media, is_media_id};
use crate::{
    clock::within,
    outbound::{Bounds, RemoteError},
};

/// The longest that a client may make us wait.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// The longest that a file which is there may take.
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(60);
/// The longest wait for memory.
const MEMORY_WAIT_MAX: Duration = Duration::from_secs(20);
/// The errcode of what has a name and no content yet.
const NOT_YET_UPLOADED: &str = "M_NOT_YET_UPLOADED";
/// What the answer may have besides the file, in bytes.
const ENVELOPE_BYTES_MAX: usize = 16 * 1024;

/// How memory for media of other servers is counted, in bytes.
pub(super) const UNIT_BYTES: u64 = 1024 * 1024;
/// How much of it there is, in units: 256 MiB.
pub(super) const UNITS_MAX: u32 = 256;
/// Bytes that are handed on at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Why there are no media of another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// That server has no such thing.
    #[error("no such media")]
    NotFound,
    /// That server, or where it points to, gives no answer that can be used.
    #[error("no answer")]
    Unreachable,
    /// They have not been uploaded yet.
    #[error("not uploaded yet")]
    NotYetUploaded,
    /// They are larger than an upload here.
    #[error("too large")]
    TooLarge,
    /// There is no memory for them now.
    #[error("too busy")]
    Busy,
}

impl From<RemoteError> for FetchError {
    fn from(error: RemoteError) -> Self {
        match error.errcode() {
            Some(NOT_YET_UPLOADED) => Self::NotYetUploaded,
            _ if error == RemoteError::TooLarge => Self::TooLarge,
            _ if error.status() == Some(StatusCode::NOT_FOUND) => Self::NotFound,
            _ => Self::Unreachable,
        }
    }
}

/// A file of another server.
#[derive(Debug)]
pub struct RemoteMedia {
    /// Its bytes.
    file: Bytes,
    /// Its share of the memory.
    memory: OwnedSemaphorePermit,
    /// What that server says it is.
    pub content_type: Option<String>,
    /// What that server calls it.
    pub filename: Option<String>,
}

impl RemoteMedia {
    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.file.len() as u64
    }

    /// A file that is the whole of an answer.
    fn plain(answer: Response<Bytes>, memory: OwnedSemaphorePermit) -> Self {
        let text = |name| answer.headers().get(name)?.to_str().ok();
        let disposition = text(header::CONTENT_DISPOSITION);
        let disposition = disposition.and_then(|text| text.parse::<ContentDisposition>().ok());
        Self {
            content_type: text(header::CONTENT_TYPE).map(str::to_owned),
            filename: disposition.and_then(|disposition| disposition.filename),
            file: answer.into_body(),
            memory,
        }
    }

    /// Its bytes, piece by piece; its memory is free again with the last one.
    pub fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold((self.file, self.memory), |(mut file, memory)| async move {
            let piece = file.split_to(file.len().min(PIECE_BYTES));
            (!piece.is_empty()).then(|| (Ok(piece), (file, memory)))
        })
    }
}

impl Media {
    /// Fetches media of another server, which waits at most `timeout` for their upload.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn fetch(
        &self,
        server: &ServerName,
        id: &str,
        timeout: Duration,
    ) -> Result<RemoteMedia, FetchError> {
        if !is_media_id(id) {
            return Err(FetchError::NotFound);
        }
        let timeout = timeout.min(TIMEOUT_MAX);
        let mut request = get_content::v1::Request::new(id.to_owned());
        request.timeout_ms = timeout;
        let bytes_max = usize::try_from(self.upload_bytes_max()).unwrap_or(usize::MAX);
        let bounds = Bounds {
            bytes_max: bytes_max.saturating_add(ENVELOPE_BYTES_MAX),
            // The client's limit is for waiting for the upload, not for what is there already.
            timeout: timeout.saturating_add(TRANSFER_TIME_MAX),
        };
        // What is fetched is whole in memory: as much as it may be is set aside for it first.
        let units = self.upload_bytes_max().div_ceil(UNIT_BYTES);
        let units = u32::try_from(units).unwrap_or(u32::MAX).clamp(1, UNITS_MAX);
        let waiting = Arc::clone(&self.remote_units).acquire_many_owned(units);
        let memory = within(&*self.clock, MEMORY_WAIT_MAX, waiting).await;
        let memory = memory.ok().and_then(Result::ok).ok_or(FetchError::Busy)?;
        // Where nothing is around the file.
        let bare = Bounds {
            bytes_max,
            ..bounds
        };
        let answer = match self.remote.call(server, request, bounds).await {
            // "servers MUST try the endpoints described below before falling back to the deprecated `/_matrix/media/*`
            // endpoints when they receive a 404 `M_UNRECOGNIZED` error"
            Err(error) if is_unrecognized(&error) => {
                let path = format!(
                    "/_matrix/media/v3/download/{server}/{id}?allow_remote=false&timeout_ms={}",
                    timeout.as_millis()
                );
                let get = http::Method::GET;
                let older = self.remote.call_raw(server, get, &path, Vec::new(), bare);
                return Ok(RemoteMedia::plain(older.await?, memory));
            }
            answer => answer?,
        };
        match answer.content {
            // What is around the file may be shorter than was allowed for it.
            FileOrLocation::File(content) if content.file.len() > bytes_max => {
                Err(FetchError::TooLarge)
            }
            FileOrLocation::File(content) => Ok(RemoteMedia {
                file: content.file.into(),
                memory,
                content_type: content.content_type,
                filename: content.content_disposition.and_then(|d| d.filename),
            }),
            FileOrLocation::Location(url) => {
                let answer = self.remote.fetch_web(&url, bare).await?;
                Ok(RemoteMedia::plain(answer, memory))
            }
            _ => Err(FetchError::Unreachable),
        }
    }
}

/// Whether a server knows no such endpoint.
fn is_unrecognized(error: &RemoteError) -> bool {
    error.status() == Some(StatusCode::NOT_FOUND) && error.errcode() == Some("M_UNRECOGNIZED")
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn memory_is_free_again_once_the_last_piece_is_taken() {
        let units = Arc::new(Semaphore::new(4));
        let memory = Arc::clone(&units).acquire_many_owned(3).await.unwrap();
        let media = RemoteMedia {
            file: vec![1; PIECE_BYTES + 1].into(),
            memory,
            content_type: None,
            filename: None,
        };
        assert_eq!(media.size(), PIECE_BYTES as u64 + 1);
        let mut pieces = Box::pin(media.pieces());
        for length in [PIECE_BYTES, 1] {
            let piece = pieces.next().await.unwrap().unwrap();
            assert_eq!((piece.len(), units.available_permits()), (length, 1));
        }
        assert!(pieces.next().await.is_none());
        assert_eq!(units.available_permits(), 4);
    }
}
