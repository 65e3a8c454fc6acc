//! The folder of a backup: its files, and the list of them with their hashes.
//!
//! Invariant: a path of the list never leads out of the folder, and no file of a key store is ever part of it.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{cli::Failure, key_files::create_private_file, store::is_key_file};

/// The configuration.
pub(super) const CONFIG: &str = "passeur.toml";
/// The database.
pub(super) const DATABASE: &str = "passeur.db";
/// The folder of the server's keys.
pub(super) const KEYS: &str = "keys";
/// The folder of media.
pub(super) const MEDIA: &str = "media";
/// The list.
const MANIFEST: &str = "manifest.json";
/// The version of the form.
const FORMAT: u32 = 1;
/// Bytes copied at once.
const PIECE_BYTES: usize = 64 * 1024;

/// The list of a backup's files.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    /// The version of the form.
    format: u32,
    /// Whose backup it is.
    server_name: String,
    /// When it was begun, in milliseconds since the epoch.
    made_ms: i64,
    /// What is in it, by path.
    files: BTreeMap<String, Entry>,
}

/// One file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Its length.
    bytes: u64,
    /// The SHA-256 of its bytes, in hexadecimal.
    sha256: String,
}

/// A backup that is being made.
#[derive(Debug)]
pub(super) struct Archive {
    folder: PathBuf,
    manifest: Manifest,
}

impl Archive {
    /// Makes the folder.
    pub(super) fn begin(folder: &Path, server_name: &str, made_ms: i64) -> Result<Self, Failure> {
        make(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            manifest: Manifest {
                format: FORMAT,
                server_name: server_name.to_owned(),
                made_ms,
                files: BTreeMap::new(),
            },
        })
    }

    /// Notes a file that is in the folder already.
    pub(super) fn note(&mut self, path: &str) -> Result<(), Failure> {
        let file = self.folder.join(path);
        let failed = |error| say_where(&file, &error);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).map_err(failed)?;
        let opened = File::open(&file).map_err(failed)?;
        opened.sync_all().map_err(failed)?;
        let entry = copy(opened, io::sink()).map_err(failed)?;
        self.manifest.files.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Copies a file, unless it has gone meanwhile.
    pub(super) fn copy(&mut self, from: &Path, path: &str) -> Result<(), Failure> {
        let opened = match File::open(from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(|error| say_where(from, &error))?,
        };
        let to = self.folder.join(path);
        if let Some(folder) = to.parent()
            && !folder.is_dir()
        {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| say_where(folder, &error))?;
        }
        let entry = write(opened, &to)?;
        self.manifest.files.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Writes the list: from now on it is a backup.
    pub(super) fn finish(self) -> Result<(), Failure> {
        let path = self.folder.join(MANIFEST);
        let list = serde_json::to_vec_pretty(&self.manifest)?;
        create_private_file(&path, &list).map_err(|error| say_where(&path, &error))?;
        Ok(())
    }
}

/// A backup that was made.
#[derive(Debug)]
pub(super) struct Reading {
    folder: PathBuf,
    manifest: Manifest,
}

impl Reading {
    /// Reads the list.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(MANIFEST);
        let list = fs::read(&path)
            .map_err(|error| format!("{}: this is no whole backup", say_where(&path, &error)))?;
        let manifest: Manifest = serde_json::from_slice(&list)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        if manifest.format != FORMAT {
            return Err(format!("{}: a newer version made this backup", path.display()).into());
        }
        let is_plain = |path: &String| {
            Path::new(path)
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
        };
        if !manifest.files.keys().all(is_plain) {
            return Err(format!("{}: a path leads out of the backup", path.display()).into());
        }
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
        })
    }

    /// Whose backup it is.
    pub(super) fn server_name(&self) -> &str {
        &self.manifest.server_name
    }

    /// The paths in it.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        self.manifest.files.keys().map(String::as_str)
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, path: &str) -> bool {
        self.manifest.files.contains_key(path)
    }

    /// Reads every file: how many there are, and how many bytes they have.
    pub(super) fn verify(&self) -> Result<(usize, u64), Failure> {
        let mut bytes = 0;
        for (path, entry) in &self.manifest.files {
            let file = self.folder.join(path);
            let failed = |error| say_where(&file, &error);
            if is_key_file(&mut File::open(&file).map_err(failed)?).map_err(failed)? {
                return Err(format!(
                    "{}: these are keys of what expires: they must be in no backup",
                    file.display()
                )
                .into());
            }
            let found = copy(File::open(&file).map_err(failed)?, io::sink()).map_err(failed)?;
            if found != *entry {
                return Err(format!("{} is damaged", file.display()).into());
            }
            bytes += entry.bytes;
        }
        Ok((self.manifest.files.len(), bytes))
    }

    /// Copies a file to where it belongs.
    pub(super) fn restore(&self, path: &str, to: &Path) -> Result<(), Failure> {
        let from = self.folder.join(path);
        let opened = File::open(&from).map_err(|error| say_where(&from, &error))?;
        let written = write(opened, to)?;
        if self.manifest.files.get(path) != Some(&written) {
            return Err(format!("{} is damaged", from.display()).into());
        }
        Ok(())
    }
}

fn make(folder: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().mode(0o700).create(folder);
    made.map_err(|error| say_where(folder, &error))?;
    Ok(())
}

fn say_where(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// Copies into a new file that only its owner may read, and waits until it is on disk.
fn write(from: File, to: &Path) -> Result<Entry, Failure> {
    let failed = |error| say_where(to, &error);
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let file = options.open(to).map_err(failed)?;
    let entry = copy(from, &file).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    Ok(entry)
}

/// Copies all bytes, and tells what they were.
fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<Entry> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut piece)?;
        if read == 0 {
            break;
        }
        hash.update(&piece[..read]);
        to.write_all(&piece[..read])?;
        bytes += read as u64;
    }
    let sha256 = hash.finalize();
    let sha256 = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Entry { bytes, sha256 })
}
