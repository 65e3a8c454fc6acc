//! `[expiry]`: when expired content is destroyed, and where its keys are.
//!
//! Invariant: the purge is frequent enough for the promise that content is gone 60 s after its deadline, and the keys of what expires
//! lie where no copy of the data takes them along.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::problem::Problems;

/// Longest interval between purges, in milliseconds: half of the promised 60 s, so that one may fail.
const PURGE_INTERVAL_MS_MAX: u64 = 30_000;

/// Settings of the purge.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExpiryConfig {
    /// Interval between purges, in milliseconds.
    pub purge_interval_ms: u64,
    /// Folder of the keys under which expiring content is encrypted, outside of the data folder; without it, nothing is.
    pub key_store: Option<PathBuf>,
}

impl Default for ExpiryConfig {
    fn default() -> Self {
        Self {
            purge_interval_ms: 10_000,
            key_store: None,
        }
    }
}

impl ExpiryConfig {
    /// Interval between purges.
    #[must_use]
    pub const fn purge_interval(&self) -> Duration {
        Duration::from_millis(self.purge_interval_ms)
    }

    /// `data` are the folders that a backup takes.
    pub(super) fn check<'a>(
        &self,
        data: impl IntoIterator<Item = &'a Path>,
        problems: &mut Problems,
    ) {
        if !(1000..=PURGE_INTERVAL_MS_MAX).contains(&self.purge_interval_ms) {
            problems.add(
                "expiry.purge_interval_ms",
                format!("must lie between 1000 and {PURGE_INTERVAL_MS_MAX} milliseconds"),
            );
        }
        let Some(keys) = &self.key_store else {
            return;
        };
        if data
            .into_iter()
            .any(|data| is_inside(keys, data) || is_inside(data, keys))
        {
            problems.add(
                "expiry.key_store",
                "must be a folder apart from data_dir and media.path: a copy of the data must not take the keys along",
            );
        }
    }
}

/// Whether a folder lies in another one, as far as they exist.
#[must_use]
pub(crate) fn is_inside(inner: &Path, outer: &Path) -> bool {
    let real = |path: &Path| {
        let mut rest = PathBuf::new();
        let mut path = path.to_owned();
        loop {
            if let Ok(found) = fs::canonicalize(&path) {
                return found.join(rest);
            }
            let Some(name) = path.file_name().map(ToOwned::to_owned) else {
                return path.join(rest);
            };
            rest = match rest.as_os_str().is_empty() {
                true => PathBuf::from(name),
                false => PathBuf::from(name).join(rest),
            };
            if !path.pop() {
                return rest;
            }
        }
    };
    real(inner).starts_with(real(outer))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_folder_is_found_inside_another_by_whatever_way() {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, folder.path().join("link")).unwrap();
        assert!(is_inside(&data, &data));
        assert!(is_inside(&data.join("keys/not/there"), &data));
        assert!(is_inside(&folder.path().join("link/keys"), &data));
        assert!(is_inside(&folder.path().join("link/../data/keys"), &data));
        assert!(!is_inside(&folder.path().join("data-keys"), &data));
        assert!(!is_inside(&folder.path().join("link/../keys"), &data));
    }
}
