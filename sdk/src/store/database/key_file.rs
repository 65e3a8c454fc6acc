//! The file that holds the store's key, encrypted by a passphrase or by a key that the caller keeps.
//!
//! Invariant: without this file the database is noise, so destroying it destroys the store. It lies beside the database and not in it,
//! since a database keeps copies of what it deletes. It is replaced by renaming, never written in place, except to destroy it.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cipher::{KEY_BYTES, Key};
use crate::{clock::Rng, crypto::SecretBytes, store::StoreError};

/// A key file is smaller than this, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// Memory that deriving a key from a passphrase takes, in KiB: 64 MiB.
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;

/// Passes over that memory.
const ARGON2_PASSES: u32 = 3;

/// More memory than this is not spent, whatever a file says, in KiB: 1 GiB.
const ARGON2_MEMORY_KIB_MAX: u32 = 1024 * 1024;

/// More passes than this are not made, whatever a file says.
const ARGON2_PASSES_MAX: u32 = 64;

const PLACE: &[u8] = b"passeur store key file";
const DAMAGED: StoreError = StoreError::Damaged {
    what: "the key file",
};

/// What opens a store.
#[derive(Debug, Clone)]
pub enum StoreKey {
    /// A passphrase, as a person types it. Opening takes 64 MiB of memory and some tenths of a second.
    Passphrase(SecretBytes),
    /// A key of 32 random bytes that the caller keeps, for instance in the operating system's keyring.
    Raw(SecretBytes),
}

impl StoreKey {
    /// A passphrase.
    pub fn passphrase(passphrase: &str) -> Self {
        Self::Passphrase(SecretBytes::new(passphrase.as_bytes().to_vec()))
    }

    /// A key of 32 bytes.
    pub fn raw(key: [u8; 32]) -> Self {
        Self::Raw(SecretBytes::new(key.to_vec()))
    }
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    version: u32,
    /// How the passphrase is turned into a key; `None` if the caller keeps a key.
    argon2id: Option<Derivation>,
    /// The store's key, encrypted.
    wrapped: String,
    /// Tells a damaged file from a wrong passphrase.
    checksum: String,
}

#[derive(Serialize, Deserialize)]
struct Derivation {
    salt: String,
    memory_kib: u32,
    passes: u32,
}

impl KeyFile {
    fn compute_checksum(&self) -> String {
        let derivation = self.argon2id.as_ref().map(|derivation| {
            format!(
                "{} {} {}",
                derivation.salt, derivation.memory_kib, derivation.passes
            )
        });
        let text = format!(
            "{} {} {}",
            self.version,
            derivation.unwrap_or_default(),
            self.wrapped
        );
        STANDARD_NO_PAD.encode(Sha256::digest(text))
    }
}

impl Derivation {
    fn derive(&self, passphrase: &SecretBytes) -> Result<Key, StoreError> {
        if self.memory_kib > ARGON2_MEMORY_KIB_MAX || self.passes > ARGON2_PASSES_MAX {
            return Err(DAMAGED);
        }
        let salt = STANDARD_NO_PAD.decode(&self.salt).map_err(|_| DAMAGED)?;
        let params =
            Params::new(self.memory_kib, self.passes, 1, Some(KEY_BYTES)).map_err(|_| DAMAGED)?;
        let mut key = Key([0; KEY_BYTES]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose(), &salt, &mut key.0)
            .map_err(|_| StoreError::KeyDerivation)?;
        Ok(key)
    }
}

/// Makes a key for a new store and writes its file.
pub(super) fn create(path: &Path, key: &StoreKey, rng: &dyn Rng) -> Result<Key, StoreError> {
    let data_key = Key::random(rng);
    write(path, &data_key, key, rng)?;
    Ok(data_key)
}

/// Writes the file so that another passphrase or key opens it.
pub(super) fn write(
    path: &Path,
    data_key: &Key,
    key: &StoreKey,
    rng: &dyn Rng,
) -> Result<(), StoreError> {
    let argon2id = match key {
        StoreKey::Raw(_) => None,
        StoreKey::Passphrase(_) => {
            let mut salt = [0; 16];
            rng.fill(&mut salt);
            Some(Derivation {
                salt: STANDARD_NO_PAD.encode(salt),
                memory_kib: ARGON2_MEMORY_KIB,
                passes: ARGON2_PASSES,
            })
        }
    };
    let wrapping = wrapping_key(key, argon2id.as_ref())?;
    let wrapped = STANDARD_NO_PAD.encode(wrapping.seal(&data_key.0, PLACE, rng)?);
    let mut file = KeyFile {
        version: 1,
        argon2id,
        wrapped,
        checksum: String::new(),
    };
    file.checksum = file.compute_checksum();
    let text = serde_json::to_vec(&file).map_err(|_| DAMAGED)?;
    replace(path, &text).map_err(io)
}

/// Reads the store's key.
pub(super) fn read(path: &Path, key: &StoreKey) -> Result<Key, StoreError> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(io)?;
    let file: KeyFile = serde_json::from_slice(&text).map_err(|_| DAMAGED)?;
    if file.checksum != file.compute_checksum() {
        return Err(DAMAGED);
    }
    if file.version != 1 {
        return Err(StoreError::NewerSchema);
    }
    let wrapping = wrapping_key(key, file.argon2id.as_ref())?;
    let wrapped = STANDARD_NO_PAD.decode(&file.wrapped).map_err(|_| DAMAGED)?;
    let opened = wrapping
        .open(&wrapped, PLACE)
        .ok_or(StoreError::WrongPassphrase)?;
    let mut data_key = Key([0; KEY_BYTES]);
    let bytes = <&[u8; KEY_BYTES]>::try_from(opened.as_slice()).map_err(|_| DAMAGED)?;
    data_key.0.copy_from_slice(bytes);
    Ok(data_key)
}

/// Overwrites the file and removes it, and what a change of the passphrase left beside it that did not come to its end: the same key is
/// in that. On flash memory the overwritten cells may survive; what is sure is that the files are gone.
pub(super) fn destroy(path: &Path, rng: &dyn Rng) -> Result<(), StoreError> {
    overwrite(path, rng)?;
    match overwrite(&unfinished(path), rng) {
        Ok(()) | Err(StoreError::Io(std::io::ErrorKind::NotFound)) => {}
        Err(error) => return Err(error),
    }
    sync_folder(path).map_err(io)
}

/// Where a new file is written before it takes the place of the old one.
fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("key.new")
}

fn overwrite(path: &Path, rng: &dyn Rng) -> Result<(), StoreError> {
    let length = fs::metadata(path).map_err(io)?.len().min(FILE_BYTES_MAX);
    let mut noise = vec![0; usize::try_from(length).unwrap_or(0)];
    rng.fill(&mut noise);
    let mut file = OpenOptions::new().write(true).open(path).map_err(io)?;
    file.write_all(&noise).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::remove_file(path).map_err(io)
}

fn wrapping_key(key: &StoreKey, derivation: Option<&Derivation>) -> Result<Key, StoreError> {
    match (key, derivation) {
        (StoreKey::Passphrase(passphrase), Some(derivation)) => derivation.derive(passphrase),
        (StoreKey::Raw(bytes), None) => {
            let bytes = <[u8; KEY_BYTES]>::try_from(bytes.expose())
                .map_err(|_| StoreError::WrongPassphrase)?;
            Ok(Key(bytes))
        }
        _ => Err(StoreError::WrongPassphrase),
    }
}

fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let new = unfinished(path);
    let mut file =
        private(OpenOptions::new().write(true).create(true).truncate(true)).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_folder(path)
}

/// Readable by nobody but the owner, where the system knows owners.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

/// An error of the file system, without the path.
#[expect(clippy::needless_pass_by_value, reason = "for use with map_err")]
pub(super) fn io(error: std::io::Error) -> StoreError {
    StoreError::Io(error.kind())
}
