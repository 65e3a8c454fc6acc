//! `[database]`: where the server stores.
//!
//! Invariant: the URL may hold a password, so it is a [`Secret`].

use std::{num::NonZero, path::Path, thread};

use serde::Deserialize;

use super::{problem::Problems, secret::Secret};

/// What caches may take unless told otherwise, in MiB: an organisation of some hundred people in rooms of some hundred members.
const CACHE_MB: u32 = 18;

/// The fewest connections for reading unless told otherwise: a long read does not keep all others waiting.
const POOL_SIZE_MIN: u32 = 2;

/// The most connections for reading unless told otherwise.
const POOL_SIZE_MAX: u32 = 8;

/// Which engine, and how many connections to it.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:` and a path (a relative one starts at the data folder), or `postgres://user:password@host/database`.
    pub url: Secret,
    /// Connections for reading, one a core unless told otherwise; the one writer has its own.
    pub pool_size: u32,
    /// What rooms, events and keys may take in memory, in MiB.
    pub cache_mb: u32,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::new("sqlite:passeur.db"),
            pool_size: pool_size_for(cores()),
            cache_mb: CACHE_MB,
        }
    }
}

/// How many cores this process may use.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Connections for reading: more than cores read no faster, and each holds a cache and its prepared statements.
fn pool_size_for(cores: usize) -> u32 {
    u32::try_from(cores)
        .unwrap_or(u32::MAX)
        .clamp(POOL_SIZE_MIN, POOL_SIZE_MAX)
}

impl DatabaseConfig {
    /// Whether it is the embedded engine, which serves one process.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.url.expose().starts_with("sqlite:")
    }

    /// The URL, a relative SQLite path resolved against the data folder.
    pub(super) fn resolved(&self, data_dir: &Path) -> Secret {
        match self.url.expose().strip_prefix("sqlite:") {
            // `sqlite://` is how other tools write it; what follows is a path either way.
            Some(path) => Secret::new(format!(
                "sqlite:{}",
                data_dir
                    .join(path.strip_prefix("//").unwrap_or(path))
                    .display()
            )),
            None => self.url.clone(),
        }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let url = self.url.expose();
        let path = url
            .strip_prefix("sqlite:")
            .map(|path| path.strip_prefix("//").unwrap_or(path));
        match path {
            Some("") => problems.add("database.url", "names no file: write \"sqlite:passeur.db\""),
            Some(path) if path.contains(":memory:") || path.contains('?') => {
                problems.add("database.url", "takes a plain path after sqlite:, without options: the server sets what it needs itself");
            }
            Some(_) => {}
            None if url.starts_with("postgres://") || url.starts_with("postgresql://") => {}
            None => problems.add("database.url", "must begin with sqlite: or postgres://"),
        }
        if !(1..=256).contains(&self.pool_size) {
            problems.add("database.pool_size", "must lie between 1 and 256");
        }
        if !(8..=65_536).contains(&self.cache_mb) {
            problems.add("database.cache_mb", "must lie between 8 and 65536");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_readers_as_cores_within_bounds() {
        assert_eq!([1, 2, 4, 64].map(pool_size_for), [2, 2, 4, 8]);
    }
}
