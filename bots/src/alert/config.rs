//! The configuration: one strict TOML file, overridden by environment variables.
//!
//! Invariant: a [`Config`] is complete and free of contradictions; an unknown key is refused with its line and the nearest
//! valid key, never skipped. Secrets are in files of their own and never in the configuration.
//!
//! `PASSEUR_ALERT__SECTION__KEY` overrides `key` in `[section]`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use passeur_sdk::expiry::ExpiryClass;
use ruma::{OwnedRoomId, OwnedUserId};

mod error;
mod raw;
mod template;

pub use error::ConfigError;
pub use template::{TEMPLATE, write_new};

use raw::Raw;

/// What environment variables that override the file begin with.
pub const ENV_PREFIX: &str = "PASSEUR_ALERT__";

/// The largest webhook body unless the file says otherwise, in bytes.
const BODY_BYTES_DEFAULT: usize = 1024 * 1024;

/// The largest webhook body that may be configured, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A checked configuration; relative paths have been resolved against the file's folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account and how its homeserver is reached.
    pub homeserver: HomeserverConfig,
    /// Where keys, queue and state are kept.
    pub store: StoreConfig,
    /// Where alerts go.
    pub room: RoomConfig,
    /// Where alerts come from.
    pub webhook: WebhookConfig,
    /// How long messages live.
    pub expiry: ExpiryConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// `[homeserver]`
#[derive(Clone, Debug)]
pub struct HomeserverConfig {
    /// Base URL.
    pub url: String,
    /// User ID or its localpart.
    pub user: String,
    /// Holds the password; read at the first start only.
    pub password_file: PathBuf,
    /// PEM files with root certificates besides the system's.
    pub extra_ca_files: Vec<PathBuf>,
    /// `socks5h://host:port`.
    pub socks_proxy: Option<String>,
    /// What the account's list of devices shows.
    pub device_name: String,
}

/// `[store]`
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// The database file.
    pub path: PathBuf,
    /// Holds the passphrase that the store is encrypted with.
    pub passphrase_file: PathBuf,
}

/// `[room]`
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// The room; must be encrypted before anything is sent.
    pub id: OwnedRoomId,
    /// Who may command the bot; empty means every member who may read.
    pub operators: Vec<OwnedUserId>,
    /// Who may read alerts, besides the operators; empty means whoever is in the room at the first alert. Others are told of in the room
    /// and wait for an operator.
    pub members: Vec<OwnedUserId>,
}

/// `[webhook]`
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Holds the bearer token.
    pub token_file: PathBuf,
    /// Certificate chain and key, both PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The largest body taken, in bytes.
    pub body_bytes_max: usize,
}

/// `[expiry]`: `None` is a message that does not expire by itself.
#[derive(Clone, Debug)]
pub struct ExpiryConfig {
    /// For severities that are not listed.
    pub default: Option<ExpiryClass>,
    /// By severity, in lower case.
    pub severity: BTreeMap<String, Option<ExpiryClass>>,
}

impl ExpiryConfig {
    /// The lifetime of a message of that severity.
    #[must_use]
    pub fn class(&self, severity: &str) -> Option<ExpiryClass> {
        self.severity.get(severity).copied().unwrap_or(self.default)
    }
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
}

impl Config {
    /// Reads and checks a file, with `environment` laid over it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names file, line and key of what is wrong.
    pub fn load(
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read {
            path: path.to_owned(),
            error,
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, path, environment)?.resolve(folder)
    }

    fn parse(
        text: &str,
        path: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Raw, ConfigError> {
        // Read once by itself, so that mistakes in the file are reported with their line.
        toml::from_str::<Raw>(text).map_err(|error| ConfigError::in_file(path, text, &error))?;
        let mut table: toml::Table =
            toml::from_str(text).map_err(|error| ConfigError::in_file(path, text, &error))?;
        for (name, value) in environment {
            let Some(key) = name.strip_prefix(ENV_PREFIX) else {
                continue;
            };
            raw::override_key(&mut table, key, &value);
            let check = table.clone().try_into::<Raw>();
            check.map_err(|error| ConfigError::in_environment(&name, &error))?;
        }
        table
            .try_into()
            .map_err(|error| ConfigError::in_file(path, text, &error))
    }
}

#[cfg(test)]
mod tests;
