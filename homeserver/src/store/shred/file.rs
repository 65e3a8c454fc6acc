//! The default key store: two small files, each of which is whole whenever the other is being written.
//!
//! Invariant: whatever moment the power fails at, one of the two holds either what was saved last or what was being saved; what a save
//! shall erase is overwritten in both before it answers. A store that is missing, damaged, open to others or in use is an error,
//! never an empty one. What a disk keeps of blocks that were overwritten is beyond this: see `docs/expiry.md`.
//!
//! No part of the specification.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{KeyStore, KeyStoreError, Saving};

/// The two files.
const NAMES: [&str; 2] = ["expiry-1.keys", "expiry-2.keys"];
/// What both begin with; its last figure is the version of the form.
const MAGIC: &[u8; 16] = b"passeur-expiry-1";
/// Before the keys: magic, number of the save, length.
const HEAD_BYTES: usize = MAGIC.len() + 8 + 8;
/// After the keys: SHA-256 of everything before it.
const DIGEST_BYTES: usize = 32;
/// What a file's length is rounded up to.
const BLOCK_BYTES: usize = 4096;
/// Largest file that is read: 64 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The two files in a folder.
#[derive(Debug)]
pub struct FileKeyStore {
    folder: PathBuf,
    state: Arc<Mutex<State>>,
}

/// What is known of the files.
#[derive(Debug, Default)]
struct State {
    /// The number of the newest save.
    number: u64,
    /// Which file has it.
    newest: usize,
    /// The files, once they are held: nobody else writes to them then.
    files: Option<[File; 2]>,
}

/// What one file holds.
struct Copy {
    number: u64,
    keys: Zeroizing<Vec<u8>>,
}

impl FileKeyStore {
    /// The key store in `folder`. Nothing is read or made yet.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            state: Arc::default(),
        }
    }

    fn failed(&self, source: io::Error) -> KeyStoreError {
        KeyStoreError::Io {
            path: self.folder.clone(),
            source,
        }
    }

    /// Which of the files has the newest keys, and these; none if neither file is there.
    fn read(&self) -> Result<Option<(usize, Copy)>, KeyStoreError> {
        let mut newest: Option<(usize, Copy)> = None;
        let mut is_there = false;
        for (index, name) in NAMES.iter().enumerate() {
            let path = self.folder.join(name);
            let bytes = match read_private(&path) {
                Err(error) if error.is_missing() => continue,
                bytes => bytes?,
            };
            is_there = true;
            if let Some(copy) = parse(&bytes)
                && newest
                    .as_ref()
                    .is_none_or(|(_, best)| best.number < copy.number)
            {
                newest = Some((index, copy));
            }
        }
        match newest {
            None if is_there => Err(KeyStoreError::Damaged(self.folder.clone())),
            newest => Ok(newest),
        }
    }

    /// Makes the folder and the files if they are not there, and holds them.
    fn hold_files(&self, state: &mut State) -> Result<(), KeyStoreError> {
        if state.files.is_some() {
            return Ok(());
        }
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(self.failed(error));
            }
            _ => {}
        }
        let open = |name| {
            let mut options = OpenOptions::new();
            let options = options.read(true).write(true).create(true).truncate(false);
            options.mode(0o600).open(self.folder.join(name))
        };
        let files = [
            open(NAMES[0]).map_err(|error| self.failed(error))?,
            open(NAMES[1]).map_err(|error| self.failed(error))?,
        ];
        match files[0].try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(KeyStoreError::Taken(self.folder.clone())),
            Err(TryLockError::Error(error)) => return Err(self.failed(error)),
        }
        let folder = File::open(&self.folder);
        folder
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.failed(error))?;
        state.files = Some(files);
        Ok(())
    }
}

impl KeyStore for FileKeyStore {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    fn load(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        Ok(self.read()?.map(|(_, copy)| copy.keys))
    }

    fn hold(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Read first: what is missing must not be made by looking for it.
        let found = self.read()?;
        if found.is_some() {
            self.hold_files(&mut state)?;
        }
        Ok(found.map(|(index, copy)| {
            (state.newest, state.number) = (index, copy.number);
            copy.keys
        }))
    }

    fn save(&self, keys: Zeroizing<Vec<u8>>, erase: bool) -> Saving {
        let state = Arc::clone(&self.state);
        let this = Self {
            folder: self.folder.clone(),
            state: Arc::clone(&state),
        };
        let write = move || {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            this.hold_files(&mut state)?;
            write_copies(&mut state, &keys, erase).map_err(|error| this.failed(error))
        };
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(write).await;
            written.unwrap_or(Err(KeyStoreError::Interrupted))
        })
    }
}

/// Writes the older copy, and the other one as well if what it holds shall be gone.
fn write_copies(state: &mut State, keys: &[u8], erase: bool) -> io::Result<()> {
    let Some(files) = &mut state.files else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let number = state.number + 1;
    let older = 1 - state.newest;
    overwrite(&mut files[older], &format(keys, number))?;
    (state.number, state.newest) = (number, older);
    if erase {
        let number = number + 1;
        overwrite(&mut files[1 - older], &format(keys, number))?;
        (state.number, state.newest) = (number, 1 - older);
    }
    Ok(())
}

/// Writes over a file from its beginning, and with zeros over what is longer, and waits until that is on disk.
fn overwrite(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    let length = bytes.len().next_multiple_of(BLOCK_BYTES);
    let before = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(bytes)?;
    file.write_all(&vec![0; length.max(before) - bytes.len()])?;
    file.sync_data()?;
    if before > length {
        // There are only zeros behind it by now.
        file.set_len(length as u64)?;
    }
    Ok(())
}

fn format(keys: &[u8], number: u64) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(HEAD_BYTES + keys.len() + DIGEST_BYTES));
    out.extend(MAGIC);
    out.extend(number.to_be_bytes());
    out.extend((keys.len() as u64).to_be_bytes());
    out.extend(keys);
    let digest = Sha256::digest(&*out);
    out.extend(digest);
    out
}

fn parse(bytes: &[u8]) -> Option<Copy> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (number, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    let (keys, rest) = rest.split_at_checked(length)?;
    let (digest, _) = rest.split_first_chunk::<DIGEST_BYTES>()?;
    let whole = bytes.get(..HEAD_BYTES + length)?;
    (Sha256::digest(whole)[..] == digest[..]).then(|| Copy {
        number: u64::from_be_bytes(*number),
        keys: Zeroizing::new(keys.to_vec()),
    })
}

/// Whether a file is one of a key store.
///
/// # Errors
/// What the operating system says.
pub fn is_key_file(file: &mut File) -> io::Result<bool> {
    let mut beginning = Vec::with_capacity(MAGIC.len());
    file.take(MAGIC.len() as u64).read_to_end(&mut beginning)?;
    Ok(beginning == MAGIC)
}

/// Reads a file that nobody else may read.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyStoreError> {
    let failed = |source| KeyStoreError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(KeyStoreError::Mode { path, mode });
    }
    let length = usize::try_from(metadata.len().min(FILE_BYTES_MAX)).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
