//! `[registration]`: who may make an account.
//!
//! Invariant: a shared secret is given once, in the file or beside it, and is long enough not to be guessed.

use std::path::PathBuf;

use serde::Deserialize;

use super::{problem::Problems, secret::Secret};

/// Shortest shared secret, in bytes.
const SHARED_SECRET_BYTES_MIN: usize = 16;

/// Who may register by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistrationMode {
    /// Nobody: accounts are made with `passeur user create` or the shared secret.
    #[default]
    Closed,
    /// Holders of a registration token (`m.login.registration_token`).
    Token,
    /// Everybody (`m.login.dummy`).
    Open,
}

/// How accounts come to be.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrationConfig {
    /// Who may register by themselves.
    pub mode: RegistrationMode,
    /// With it a program may make accounts whatever the mode.
    pub shared_secret: Option<Secret>,
    /// A file that holds the shared secret instead; white space around it is dropped.
    pub shared_secret_file: Option<PathBuf>,
}

impl RegistrationConfig {
    /// Takes the secret from its file, if that is where it is.
    pub(super) fn read_secret(&mut self, problems: &mut Problems) {
        let Some(file) = &self.shared_secret_file else {
            return;
        };
        if self.shared_secret.is_some() {
            problems.add(
                "registration.shared_secret_file",
                "and shared_secret are both set: remove one",
            );
            return;
        }
        match std::fs::read_to_string(file) {
            Ok(secret) => self.shared_secret = Some(Secret::new(secret.trim())),
            Err(error) => problems.add(
                "registration.shared_secret_file",
                format!("{} cannot be read: {error}", file.display()),
            ),
        }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self
            .shared_secret
            .as_ref()
            .is_some_and(|secret| secret.expose().len() < SHARED_SECRET_BYTES_MIN)
        {
            let message = format!(
                "is shorter than {SHARED_SECRET_BYTES_MIN} bytes: make one with `openssl rand -hex 32`"
            );
            problems.add("registration.shared_secret", message);
        }
    }
}
