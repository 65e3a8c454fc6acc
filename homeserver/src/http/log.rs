//! The log: one line a request, and nothing in any line that says who, where or what.
//!
//! Invariant: an identifier is logged as a [`Hashed`] or not at all. Its key dies with the process, so lines of one run can be
//! matched and nothing can be looked up later. Whatever else slips into a line is taken out again by `log/scrub.rs`; other
//! crates' lines are not written, and of a panic only the place is.

use std::{
    fmt,
    io::Write,
    sync::{Arc, OnceLock},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use self::subscriber::LineSubscriber;
use crate::{
    clock::{Clock, OsRng, Rng},
    config::{LogConfig, LogLevel},
};

#[cfg(test)]
pub(crate) mod captured;
mod scrub;
mod subscriber;

/// An identifier as the log may show it: the same within a process, without meaning outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hashed(u64);

impl Hashed {
    /// Hides a user ID, room ID, server name or whatever else tells somebody from others.
    #[must_use]
    pub fn new(identifier: impl AsRef<[u8]>) -> Self {
        static KEY: OnceLock<[u8; 32]> = OnceLock::new();
        let key = KEY.get_or_init(|| {
            let mut key = [0; 32];
            OsRng.fill(&mut key);
            key
        });
        Self(keyed_hash(key, identifier.as_ref()) as u64)
    }
}

impl fmt::Display for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{:016x}", self.0)
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first 16 bytes of the HMAC-SHA256 of `data`.
pub(super) fn keyed_hash(key: &[u8; 32], data: &[u8]) -> u128 {
    // A key shorter than a block is padded with zeros.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(data);
    let digest: [u8; 32] = mac.finalize().into_bytes().into();
    let (head, _) = digest.split_at(16);
    head.iter()
        .fold(0, |number, &byte| number << 8 | u128::from(byte))
}

/// The running log, to change its level.
#[derive(Clone)]
pub struct LogHandle(Arc<LineSubscriber>);

impl LogHandle {
    /// Changes the least severity that is written.
    pub fn set_level(&self, level: LogLevel) {
        self.0.set_level(level);
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogHandle")
    }
}

/// A log is running in this process already.
#[derive(Debug, thiserror::Error)]
#[error("this process has a log already")]
pub struct AlreadyLogging;

/// Starts the log of this process, written to `sink`; panics are logged from now on, by their place only.
///
/// # Errors
/// [`AlreadyLogging`] on the second call.
pub fn start(
    config: LogConfig,
    clock: Arc<dyn Clock>,
    sink: Box<dyn Write + Send>,
) -> Result<LogHandle, AlreadyLogging> {
    let subscriber = Arc::new(LineSubscriber::new(config, clock, sink));
    tracing::subscriber::set_global_default(Arc::clone(&subscriber)).map_err(|_| AlreadyLogging)?;
    // The message of a panic may quote what it choked on.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(|place| format!("{}:{}", place.file(), place.line()));
        tracing::error!(
            place = place.as_deref().unwrap_or("unknown"),
            "a task panicked"
        );
    }));
    Ok(LogHandle(subscriber))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_hidden_and_the_same_each_time() {
        let (alice, bob) = (
            Hashed::new("@alice:example.org"),
            Hashed::new("@bob:example.org"),
        );
        assert_eq!(alice, Hashed::new("@alice:example.org"));
        assert_ne!(alice, bob);
        assert_eq!(alice.to_string().len(), 17);
        assert_eq!(format!("{alice:?}"), alice.to_string());
    }

    #[test]
    fn a_keyed_hash_is_the_head_of_an_hmac() {
        // RFC 4231, test case 1, has a key of 20 bytes; zeros up to the block's size change nothing.
        let mut key = [0; 32];
        key[..20].fill(0x0B);
        assert_eq!(
            keyed_hash(&key, b"Hi There"),
            0xB034_4C61_D8DB_3853_5CA8_AFCE_AF0B_F12B
        );
    }
}
