//! The two keys that a server is born with: the one that signs events, and the one that signs access tokens.
//!
//! Each is a file of one line, `ed25519 <version> <seed>`: the algorithm, the version that other servers see in key IDs
//! (letters, digits and underscores), and the 32 bytes of the seed in base64 without padding. Invariant: a key file is made with
//! mode 0600, is never overwritten, and is refused when others may read it.
//! Specification: appendices, "Signing details" and "Server keys".

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ruma::signatures::Ed25519KeyPair;
use zeroize::Zeroizing;

use crate::clock::Rng;

pub mod rotation;

/// Length of an Ed25519 seed, in bytes.
const SEED_BYTES: usize = 32;

/// Longest key file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024;

/// What stands before the seed in a PKCS#8 document of an Ed25519 key (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file is there already.
    #[error("{} exists and is never overwritten: move it away if you really want a new key", .0.display())]
    Exists(PathBuf),
    /// There is no such file.
    #[error("{} is missing: `passeur init` makes it", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Others than the owner have access.
    #[error("{} may be read by others (mode {mode:04o}): chmod 600 it", .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is no key.
    #[error("{} is no key: it should be one line, `ed25519 <version> <32 bytes in unpadded base64>`", .0.display())]
    Malformed(PathBuf),
}

/// A key as it stands in a file.
struct KeyFile {
    /// The part of the key ID after `ed25519:`.
    version: String,
    /// The private key as a PKCS#8 document in DER.
    pkcs8: Zeroizing<Vec<u8>>,
}

/// The key that signs access tokens (EdDSA).
pub struct TokenKey {
    /// The private key as a PKCS#8 document in DER.
    pub pkcs8: Zeroizing<Vec<u8>>,
    /// The public key's 32 bytes.
    pub public: [u8; 32],
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

/// Makes a new key in a new file.
///
/// # Errors
/// [`KeyFileError::Exists`] if the file is there, whatever it holds; [`KeyFileError::Io`].
pub fn create(path: &Path, rng: &dyn Rng) -> Result<(), KeyFileError> {
    let mut seed = Zeroizing::new([0; SEED_BYTES]);
    rng.fill(seed.as_mut());
    let line = Zeroizing::new(format!(
        "ed25519 a_{} {}\n",
        rng.token(6),
        STANDARD_NO_PAD.encode(seed.as_ref())
    ));
    create_private_file(path, line.as_bytes()).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => KeyFileError::Io {
            path: path.to_owned(),
            source,
        },
    })
}

/// Writes a new file that only its owner may read, and waits until it and its name are on disk.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if it is there; whatever else the operating system says.
pub fn create_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Loads the key that signs events and requests.
///
/// # Errors
/// Any [`KeyFileError`] but [`KeyFileError::Exists`].
pub fn load_signing_key(path: &Path) -> Result<Ed25519KeyPair, KeyFileError> {
    let KeyFile { version, pkcs8 } = load(path)?;
    Ed25519KeyPair::from_der(&pkcs8, version).map_err(|_| KeyFileError::Malformed(path.to_owned()))
}

/// Loads the key that signs access tokens.
///
/// # Errors
/// Any [`KeyFileError`] but [`KeyFileError::Exists`].
pub fn load_token_key(path: &Path) -> Result<TokenKey, KeyFileError> {
    let KeyFile { version, pkcs8 } = load(path)?;
    let pair = Ed25519KeyPair::from_der(&pkcs8, version)
        .map_err(|_| KeyFileError::Malformed(path.to_owned()))?;
    Ok(TokenKey {
        public: pair.public_key(),
        pkcs8,
    })
}

/// Reads and takes apart one key file.
fn load(path: &Path) -> Result<KeyFile, KeyFileError> {
    let failed = |source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing(path.to_owned()),
        _ => failed(source),
    })?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    let mut line = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut line)
        .map_err(failed)?;
    parse(&line).ok_or_else(|| KeyFileError::Malformed(path.to_owned()))
}

/// Reads `ed25519 <version> <seed>`.
fn parse(line: &str) -> Option<KeyFile> {
    let mut words = line.split_ascii_whitespace();
    let (algorithm, version, seed) = (words.next()?, words.next()?, words.next()?);
    let version_is_valid = version
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if algorithm != "ed25519" || !version_is_valid || words.next().is_some() {
        return None;
    }
    let seed = Zeroizing::new(
        STANDARD_NO_PAD
            .decode(seed)
            .ok()
            .filter(|seed| seed.len() == SEED_BYTES)?,
    );
    let pkcs8 = Zeroizing::new([PKCS8_PREFIX.as_slice(), &seed].concat());
    Some(KeyFile {
        version: version.to_owned(),
        pkcs8,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};

    use super::*;
    use crate::clock::SeededRng;

    #[test]
    fn a_key_is_private_never_overwritten_and_the_same_when_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        create(&path, &SeededRng::new(1)).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(
            create(&path, &SeededRng::new(2)),
            Err(KeyFileError::Exists(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let pair = load_signing_key(&path).unwrap();
        assert!(pair.version().starts_with("a_"));
        assert_eq!(load_token_key(&path).unwrap().public, pair.public_key());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        create(&path, &SeededRng::new(1)).unwrap();
        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = load_signing_key(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("may be read by others (mode 0640): chmod 600 it"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        // The seed of test 1 in RFC 8032, section 7.1, and what it must give.
        let seed = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
        let key = parse(&format!("ed25519 1 {seed}")).unwrap();
        let pair = Ed25519KeyPair::from_der(&key.pkcs8, key.version).unwrap();
        assert_eq!(
            STANDARD_NO_PAD.encode(pair.public_key()),
            "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        );
        for line in [
            "",
            "ed25519",
            "ed25519 1",
            &format!("rsa 1 {seed}"),
            &format!("ed25519 a:b {seed}"),
            &format!("ed25519 1 {seed} x"),
            "ed25519 1 AAAA",
        ] {
            assert!(parse(line).is_none(), "{line}");
        }
    }
}
