//! Media: keeping uploads, giving them out, and fetching those of other servers.
//!
//! Invariant: an upload counts once its file is whole, on disk and named by its id; names of files
//! are made here and nowhere else, from ids that were checked. Nothing is decoded but images of which
//! a thumbnail is asked for.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#content-repository>

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use ruma::{OwnedServerName, UserId};
use tokio::sync::Semaphore;

use crate::{
    clock::{Clock, Rng},
    config::Config,
    outbound::Remote,
    store::{MediaRow, ReserveMedia, Store, StoreError},
};

mod file;
mod keep;
mod remote;
mod thumbnail;

pub use self::{
    file::{MediaFile, is_media_id},
    keep::{Upload, UploadError},
    remote::{FetchError, RemoteMedia},
    thumbnail::{SOURCE_BYTES_MAX, Thumbnail, ThumbnailError, ThumbnailSize},
};

/// Letters of an id: 190 bits, so that nobody finds one by trying.
const ID_CHARS: usize = 32;
/// How long a reserved id waits for its upload.
pub const RESERVED_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How many ids a user may reserve at once.
const PENDING_MAX: u64 = 20;
/// How much one user may keep, in bytes: 20 GiB.
const USER_BYTES_MAX: i64 = 20 << 30;

/// The media that are kept here, and the way to others.
#[derive(Debug)]
pub struct Media {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    server_name: OwnedServerName,
    remote: Remote,
    folder: PathBuf,
    upload_bytes_max: u64,
    /// Whose turn it is to decode an image.
    decoders: Arc<Semaphore>,
    /// Who waits for that.
    waiting: Semaphore,
    /// Ids whose file is just about to be named.
    finishing: Mutex<HashSet<String>>,
    /// How much memory media of other servers may take, in units of [`remote::UNIT_BYTES`].
    remote_units: Arc<Semaphore>,
}

/// Why no id is reserved.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The user has too many that wait.
    #[error("too many reserved ids")]
    TooMany,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Media {
    /// The media in the configured folder, from which uploads that were cut off are removed.
    pub fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        remote: Remote,
        config: &Config,
    ) -> Self {
        file::discard_unfinished(&config.media_dir());
        Self {
            store,
            clock,
            rng,
            server_name: config.server_name.clone(),
            remote,
            folder: config.media_dir(),
            upload_bytes_max: config.media.upload_bytes_max,
            decoders: Arc::new(Semaphore::new(thumbnail::DECODERS_MAX)),
            waiting: thumbnail::waiting(),
            finishing: Mutex::default(),
            remote_units: Arc::new(Semaphore::new(remote::UNITS_MAX as usize)),
        }
    }

    /// The largest upload, in bytes.
    pub fn upload_bytes_max(&self) -> u64 {
        self.upload_bytes_max
    }

    /// Whether media with this server name are kept here.
    pub fn is_local(&self, server: &ruma::ServerName) -> bool {
        self.server_name == server
    }

    /// Reserves an id for an upload to come; answers it and until when it waits, in milliseconds
    /// since the Unix epoch.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub async fn reserve(&self, user: &UserId) -> Result<(String, i64), ReserveError> {
        let now_ms = self.clock.now_ms();
        let usage = self.store.media_usage(user, now_ms).await?;
        if usage.pending >= PENDING_MAX {
            return Err(ReserveError::TooMany);
        }
        let wait_ms = i64::try_from(RESERVED_FOR.as_millis()).unwrap_or(i64::MAX);
        let reserve = ReserveMedia {
            id: self.rng.token(ID_CHARS),
            uploader: user.to_owned(),
            now_ms,
            expires_ms: now_ms.saturating_add(wait_ms),
        };
        let (id, expires_ms) = (reserve.id.clone(), reserve.expires_ms);
        self.store.commit(reserve).await?;
        Ok((id, expires_ms))
    }

    /// What is known of media that were uploaded here.
    ///
    /// # Errors
    /// What the database says.
    pub async fn find(&self, id: &str) -> Result<Option<MediaRow>, StoreError> {
        if !is_media_id(id) {
            return Ok(None);
        }
        let found = self.store.media(id).await?;
        let now_ms = self.clock.now_ms();
        Ok(found.filter(|row| row.size.is_some() || row.expires_ms.is_some_and(|at| at > now_ms)))
    }

    /// Opens the file of media that [`Media::find`] gave, to be read in pieces.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn open(&self, row: &MediaRow) -> std::io::Result<MediaFile> {
        MediaFile::open(&self.path(&row.id)).await
    }

    /// Where the file of an id lies: in one of many folders, by the first letters.
    fn path(&self, id: &str) -> PathBuf {
        let shelf = id.get(..2).unwrap_or("__");
        self.folder.join(shelf).join(id)
    }
}
