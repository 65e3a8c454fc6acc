//! Changing the key that signs events: the new one waits beside the old until the server starts, and of the old one the public
//! half stays.
//!
//! Invariant: a key is retired at the moment at which it is used for the last time or later, never before; once retired it is
//! published as such for ever, since others verify by it what this server signed. A process that is killed in between does the
//! rest when it starts again.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#publishing-keys>

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ruma::signatures::Ed25519KeyPair;

use super::{KeyFileError, create, create_private_file, load_signing_key};
use crate::clock::Rng;

/// Longest list of retired keys that is read, in bytes.
const RETIRED_BYTES_MAX: u64 = 64 * 1024;

/// A key that signs nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredKey {
    /// The part of the key ID after `ed25519:`.
    pub version: String,
    /// The public key's 32 bytes.
    pub public: [u8; 32],
    /// When it was retired, in milliseconds since the epoch.
    pub expired_ms: i64,
}

impl RetiredKey {
    /// `ed25519 <version> <public key> <ms>`.
    fn line(&self) -> String {
        let public = STANDARD_NO_PAD.encode(self.public);
        format!("ed25519 {} {public} {}\n", self.version, self.expired_ms)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (algorithm, version, public) = (words.next()?, words.next()?, words.next()?);
        let expired_ms = words.next()?.parse().ok()?;
        let public = STANDARD_NO_PAD.decode(public).ok()?.try_into().ok()?;
        (algorithm == "ed25519" && words.next().is_none()).then(|| Self {
            version: version.to_owned(),
            public,
            expired_ms,
        })
    }
}

/// Makes the key that the server will sign with from its next start on, and answers with its version.
///
/// # Errors
/// [`KeyFileError::Missing`] if there is no key to follow; [`KeyFileError::Exists`] if another one waits already.
pub fn prepare(path: &Path, rng: &dyn Rng) -> Result<String, KeyFileError> {
    load_signing_key(path)?;
    let next = next_path(path);
    create(&next, rng)?;
    Ok(load_signing_key(&next)?.version().to_owned())
}

/// Puts a key that waits into the place of the present one, which is retired as of `now_ms`. Answers with the key to sign with
/// and all that were retired. It must be called while no server signs with the present one.
///
/// # Errors
/// Any [`KeyFileError`] but [`KeyFileError::Exists`].
pub fn take_over(
    path: &Path,
    now_ms: i64,
) -> Result<(Ed25519KeyPair, Vec<RetiredKey>), KeyFileError> {
    let mut retired = load_retired(path)?;
    let next = next_path(path);
    if fs::exists(&next).map_err(|source| io_error(&next, source))? {
        let successor = load_signing_key(&next)?;
        // If only the last step is left to do, the present key is the new one already, and gone from its waiting place.
        let present = load_signing_key(path)?;
        if present.version() != successor.version() {
            retired.retain(|key| key.version != present.version());
            retired.push(RetiredKey {
                version: present.version().to_owned(),
                public: present.public_key(),
                expired_ms: now_ms,
            });
            save_retired(path, &retired)?;
        }
        fs::rename(&next, path).map_err(|source| io_error(path, source))?;
    }
    let pair = load_signing_key(path)?;
    Ok((pair, retired))
}

fn save_retired(path: &Path, retired: &[RetiredKey]) -> Result<(), KeyFileError> {
    let list = retired_path(path);
    let fresh = with_suffix(path, "retired.new");
    let text: String = retired.iter().map(RetiredKey::line).collect();
    let written = match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        // What an earlier attempt left, if anything, is gone.
        _ => create_private_file(&fresh, text.as_bytes()),
    };
    written
        .and_then(|()| fs::rename(&fresh, &list))
        .map_err(|source| io_error(&list, source))
}

fn load_retired(path: &Path) -> Result<Vec<RetiredKey>, KeyFileError> {
    let list = retired_path(path);
    match fs::metadata(&list) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Ok(metadata) if metadata.len() > RETIRED_BYTES_MAX => {
            return Err(KeyFileError::Malformed(list));
        }
        _ => {}
    }
    let text = fs::read_to_string(&list).map_err(|source| io_error(&list, source))?;
    let keys: Option<Vec<RetiredKey>> = text.lines().map(RetiredKey::parse).collect();
    keys.ok_or(KeyFileError::Malformed(list))
}

fn next_path(path: &Path) -> PathBuf {
    with_suffix(path, "next")
}

fn retired_path(path: &Path) -> PathBuf {
    with_suffix(path, "retired")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

fn io_error(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRng;

    #[test]
    fn a_key_is_retired_when_its_successor_takes_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        create(&path, &SeededRng::new(1)).unwrap();
        let (first, retired) = take_over(&path, 1).unwrap();
        assert!(retired.is_empty());
        let version = prepare(&path, &SeededRng::new(2)).unwrap();
        assert!(matches!(
            prepare(&path, &SeededRng::new(3)),
            Err(KeyFileError::Exists(_))
        ));
        // Until then the old one signs.
        assert_eq!(load_signing_key(&path).unwrap().version(), first.version());
        let (second, retired) = take_over(&path, 2).unwrap();
        assert_eq!(second.version(), version);
        let expected = RetiredKey {
            version: first.version().to_owned(),
            public: first.public_key(),
            expired_ms: 2,
        };
        assert_eq!(retired, std::slice::from_ref(&expected));
        prepare(&path, &SeededRng::new(4)).unwrap();
        take_over(&path, 3).unwrap();
        let (_, retired) = take_over(&path, 4).unwrap();
        let expired: Vec<i64> = retired.iter().map(|key| key.expired_ms).collect();
        assert_eq!((retired.first(), expired), (Some(&expected), vec![2, 3]));
    }

    #[test]
    fn a_process_that_was_killed_in_between_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        create(&path, &SeededRng::new(1)).unwrap();
        let first = load_signing_key(&path).unwrap();
        prepare(&path, &SeededRng::new(2)).unwrap();
        // It retired the key and wrote half of another list, and the key itself was not yet replaced.
        let key = RetiredKey {
            version: first.version().to_owned(),
            public: first.public_key(),
            expired_ms: 1,
        };
        save_retired(&path, &[key]).unwrap();
        fs::write(with_suffix(&path, "retired.new"), "ed25").unwrap();
        let (second, retired) = take_over(&path, 5).unwrap();
        assert_ne!(second.version(), first.version());
        let expired: Vec<i64> = retired.iter().map(|key| key.expired_ms).collect();
        assert_eq!(expired, [5], "it may have signed until then");
    }
}
