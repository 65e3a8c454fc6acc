//! Files of media: their names, writing them whole, and reading them in pieces.
//!
//! Invariant: what is not an id by [`is_media_id`] never becomes part of a path.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    fs::{self, File, OpenOptions},
    io::{self, AsyncReadExt, AsyncWriteExt},
};

/// The folder of files that are not whole.
const UNFINISHED: &str = "unfinished";
/// Bytes read at once.
const PIECE_BYTES: usize = 64 * 1024;
/// The longest id, in bytes.
const ID_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;

/// Whether this can be the id of media: letters, digits, `_` and `-`.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#security-considerations-5>
pub fn is_media_id(id: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len())
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// A file that is being read.
#[derive(Debug)]
pub struct MediaFile {
    file: File,
    size: u64,
}

impl MediaFile {
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path).await?;
        let size = file.metadata().await?.len();
        Ok(Self { file, size })
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its bytes, piece by piece.
    pub fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold(self.file, |mut file| async move {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = (&mut file)
                .take(PIECE_BYTES as u64)
                .read_to_end(&mut piece)
                .await?;
            Ok((read > 0).then(|| (Bytes::from(piece), file)))
        })
    }
}

/// A file that is being written, under a name that nobody asks for.
#[derive(Debug)]
pub(super) struct NewFile {
    file: File,
    path: PathBuf,
    /// Whether it has got its name.
    finished: bool,
}

impl Drop for NewFile {
    /// Throws the file away, unless it is whole: also when its upload is given up.
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now goes at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Throws away what uploads left behind that a stop of the process cut off.
pub(super) fn discard_unfinished(folder: &Path) {
    // Where nothing was left, there is nothing to remove.
    let _ = std::fs::remove_dir_all(folder.join(UNFINISHED));
}

impl NewFile {
    /// Begins a file of this name in the folder of unfinished ones.
    pub(super) async fn create(folder: &Path, name: &str) -> io::Result<Self> {
        let unfinished = folder.join(UNFINISHED);
        fs::create_dir_all(&unfinished).await?;
        let path = unfinished.join(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .await?;
        Ok(Self {
            file,
            path,
            finished: false,
        })
    }

    pub(super) async fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece).await
    }

    /// Waits until the file is on disk, and gives it its name.
    pub(super) async fn finish(mut self, path: &Path) -> io::Result<()> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let Some(shelf) = path.parent() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        fs::create_dir_all(shelf).await?;
        fs::rename(&self.path, path).await?;
        self.finished = true;
        File::open(shelf).await?.sync_all().await
    }
}
