//! Keeping an upload.
//!
//! Invariant: memory holds one piece at a time, and the file never grows beyond its limit.

use std::{
    collections::HashSet,
    sync::{MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use ruma::{OwnedUserId, UserId};
use sha2::{Digest, Sha256};

use super::{ID_CHARS, Media, USER_BYTES_MAX, file::NewFile};
use crate::store::{KeepMedia, StoreError};

/// The longest name that is kept, in bytes.
const FILENAME_BYTES_MAX: usize = 255;
/// The longest content type that is kept, in bytes.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// What a client says of its upload.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    /// The id that was reserved for it; a new one if none.
    pub id: Option<String>,
    /// What it is.
    pub content_type: Option<String>,
    /// What it is called.
    pub filename: Option<String>,
}

/// Why an upload is not kept.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It is longer than any upload may be.
    #[error("the upload is too large")]
    TooLarge,
    /// The user keeps as much as he may.
    #[error("the user keeps too much")]
    QuotaExceeded,
    /// The id was not reserved, or not for long enough.
    #[error("no such reserved id")]
    NotReserved,
    /// The id was reserved by somebody else.
    #[error("reserved by another user")]
    NotYours,
    /// The id has its media already.
    #[error("the id has its media already")]
    Taken,
    /// The connection broke.
    #[error("the upload did not arrive whole")]
    Broken,
    /// The disk failed, or is full.
    #[error("the media folder: {0}")]
    Disk(#[from] std::io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The turn to write to an id.
struct Turn<'a> {
    media: &'a Media,
    id: String,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.media.finishing().remove(&self.id);
    }
}

/// What was written.
struct Written {
    size: u64,
    sha256: String,
}

impl Media {
    /// Keeps an upload and answers its id, once it is on disk.
    ///
    /// # Errors
    /// [`UploadError`]; nothing is kept then.
    pub async fn keep<E>(
        &self,
        user: &UserId,
        upload: Upload,
        mut pieces: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<String, UploadError> {
        let now_ms = self.clock.now_ms();
        if let Some(id) = &upload.id {
            self.check_reserved(user, id).await?;
        }
        let usage = self.store.media_usage(user, now_ms).await?;
        if usage.bytes >= USER_BYTES_MAX {
            return Err(UploadError::QuotaExceeded);
        }
        let id = upload.id.unwrap_or_else(|| self.rng.token(ID_CHARS));
        // Two uploads to one reserved id write to files of their own; the database says who was first.
        let mut file = NewFile::create(&self.folder, &self.rng.token(ID_CHARS)).await?;
        let written = self.write(&mut file, &mut pieces).await?;
        let keep = KeepMedia {
            id: id.clone(),
            uploader: OwnedUserId::from(user),
            content_type: upload
                .content_type
                .filter(|kind| kind.len() <= CONTENT_TYPE_BYTES_MAX),
            filename: upload
                .filename
                .filter(|name| name.len() <= FILENAME_BYTES_MAX),
            size: i64::try_from(written.size).unwrap_or(i64::MAX),
            sha256: written.sha256,
            now_ms,
        };
        // One upload to an id at a time. If a stop of the process once left a file without its row,
        // this one takes its place.
        let _turn = self.turn(&id).ok_or(UploadError::Taken)?;
        if self.find(&id).await?.is_some_and(|row| row.size.is_some()) {
            return Err(UploadError::Taken);
        }
        // The file gets its name first, so that a row never speaks of a file that is not there.
        file.finish(&self.path(&id)).await?;
        let kept = self.store.commit(keep).await;
        if kept.is_err() && matches!(self.find(&id).await, Ok(None)) {
            // There is no row that speaks of it, nor will there be. What cannot be removed is in nobody's way.
            let _ = tokio::fs::remove_file(self.path(&id)).await;
        }
        if kept?.output {
            Ok(id)
        } else {
            Err(UploadError::Taken)
        }
    }

    /// The turn to write to an id; none if somebody else has it.
    fn turn(&self, id: &str) -> Option<Turn<'_>> {
        let is_free = self.finishing().insert(id.to_owned());
        is_free.then(|| Turn {
            media: self,
            id: id.to_owned(),
        })
    }

    fn finishing(&self) -> MutexGuard<'_, HashSet<String>> {
        self.finishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn check_reserved(&self, user: &UserId, id: &str) -> Result<(), UploadError> {
        let found = self.find(id).await?.ok_or(UploadError::NotReserved)?;
        if found.uploader != user {
            return Err(UploadError::NotYours);
        }
        if found.size.is_some() {
            return Err(UploadError::Taken);
        }
        Ok(())
    }

    async fn write<E>(
        &self,
        file: &mut NewFile,
        pieces: &mut (impl Stream<Item = Result<Bytes, E>> + Send + Unpin),
    ) -> Result<Written, UploadError> {
        let mut hash = Sha256::new();
        let mut size: u64 = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| UploadError::Broken)?;
            size += piece.len() as u64;
            if size > self.upload_bytes_max {
                return Err(UploadError::TooLarge);
            }
            hash.update(&piece);
            file.write(&piece).await?;
        }
        Ok(Written {
            size,
            sha256: STANDARD_NO_PAD.encode(hash.finalize()),
        })
    }
}
