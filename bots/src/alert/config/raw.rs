//! The file as it is written, before it is checked.
//!
//! Invariant: every key is optional here, because the environment may give it; [`Raw::resolve`] says what is missing.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use passeur_sdk::expiry::ExpiryClass;
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;

use super::{
    BODY_BYTES_DEFAULT, BODY_BYTES_MAX, Config, ConfigError, ExpiryConfig, HomeserverConfig,
    LogConfig, RoomConfig, StoreConfig, WebhookConfig,
};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    homeserver: RawHomeserver,
    store: RawStore,
    room: RawRoom,
    webhook: RawWebhook,
    expiry: RawExpiry,
    log: RawLog,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawHomeserver {
    url: Option<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    extra_ca_files: Vec<PathBuf>,
    socks_proxy: Option<String>,
    device_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawStore {
    path: Option<PathBuf>,
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawRoom {
    id: Option<OwnedRoomId>,
    operators: Vec<OwnedUserId>,
    members: Vec<OwnedUserId>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawWebhook {
    listen: Option<SocketAddr>,
    token_file: Option<PathBuf>,
    tls_certificate_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    body_bytes_max: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawExpiry {
    default: Option<Lifetime>,
    severity: BTreeMap<String, Lifetime>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawLog {
    level: Option<Level>,
    format: Option<Format>,
}

/// A lifetime as it is written.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Lifetime {
    #[serde(rename = "30s")]
    Seconds30,
    #[serde(rename = "5m")]
    Minutes5,
    #[serde(rename = "1h")]
    Hour1,
    #[serde(rename = "8h")]
    Hours8,
    #[serde(rename = "1d")]
    Day1,
    #[serde(rename = "7d")]
    Days7,
    #[serde(rename = "28d")]
    Days28,
    #[serde(rename = "never")]
    Never,
}

impl Lifetime {
    const fn class(self) -> Option<ExpiryClass> {
        match self {
            Self::Seconds30 => Some(ExpiryClass::Seconds30),
            Self::Minutes5 => Some(ExpiryClass::Minutes5),
            Self::Hour1 => Some(ExpiryClass::Hour1),
            Self::Hours8 => Some(ExpiryClass::Hours8),
            Self::Day1 => Some(ExpiryClass::Day1),
            Self::Days7 => Some(ExpiryClass::Days7),
            Self::Days28 => Some(ExpiryClass::Days28),
            Self::Never => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Text,
    Json,
}

/// Lays one environment variable over the file: `SECTION__KEY`, its value TOML or else a text.
pub(super) fn override_key(table: &mut toml::Table, key: &str, value: &str) {
    let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
    let Some((last, sections)) = path.split_last() else {
        return;
    };
    let mut table = table;
    for section in sections {
        let entry = table
            .entry(section.clone())
            .or_insert_with(|| toml::Table::new().into());
        if !entry.is_table() {
            *entry = toml::Table::new().into();
        }
        let Some(inner) = entry.as_table_mut() else {
            return;
        };
        table = inner;
    }
    table.insert(last.clone(), value);
}

impl Raw {
    /// Checks that everything needed is there and fits together.
    pub(super) fn resolve(self, folder: &Path) -> Result<Config, ConfigError> {
        Ok(Config {
            homeserver: self.homeserver.resolve(folder)?,
            store: StoreConfig {
                path: path(folder, self.store.path, "store.path")?,
                passphrase_file: path(folder, self.store.passphrase_file, "store.passphrase_file")?,
            },
            room: RoomConfig {
                id: self
                    .room
                    .id
                    .ok_or(ConfigError::Missing { key: "room.id" })?,
                operators: self.room.operators,
                members: self.room.members,
            },
            webhook: self.webhook.resolve(folder)?,
            expiry: self.expiry.resolve(),
            log: LogConfig {
                level: self.log.level.unwrap_or(Level::Info).name().to_owned(),
                json: self.log.format == Some(Format::Json),
            },
        })
    }
}

impl RawHomeserver {
    fn resolve(self, folder: &Path) -> Result<HomeserverConfig, ConfigError> {
        Ok(HomeserverConfig {
            url: self.url.ok_or(ConfigError::Missing {
                key: "homeserver.url",
            })?,
            user: self.user.ok_or(ConfigError::Missing {
                key: "homeserver.user",
            })?,
            password_file: path(folder, self.password_file, "homeserver.password_file")?,
            extra_ca_files: self
                .extra_ca_files
                .iter()
                .map(|file| folder.join(file))
                .collect(),
            socks_proxy: self.socks_proxy,
            device_name: self
                .device_name
                .unwrap_or_else(|| "passeur-alert".to_owned()),
        })
    }
}

impl RawWebhook {
    fn resolve(self, folder: &Path) -> Result<WebhookConfig, ConfigError> {
        let listen = self.listen.ok_or(ConfigError::Missing {
            key: "webhook.listen",
        })?;
        let tls = match (self.tls_certificate_file, self.tls_key_file) {
            (Some(certificate), Some(key)) => Some((folder.join(certificate), folder.join(key))),
            (None, None) => None,
            (None, Some(_)) => {
                return Err(ConfigError::Missing {
                    key: "webhook.tls_certificate_file",
                });
            }
            (Some(_), None) => {
                return Err(ConfigError::Missing {
                    key: "webhook.tls_key_file",
                });
            }
        };
        if tls.is_none() && !listen.ip().is_loopback() {
            return Err(ConfigError::Contradiction(
                "webhook.listen is not a loopback address, so webhook.tls_certificate_file and webhook.tls_key_file are needed",
            ));
        }
        let body_bytes_max = self.body_bytes_max.unwrap_or(BODY_BYTES_DEFAULT);
        if !(1..=BODY_BYTES_MAX).contains(&body_bytes_max) {
            return Err(ConfigError::Contradiction(
                "webhook.body_bytes_max must be between 1 and 67108864",
            ));
        }
        let token_file = path(folder, self.token_file, "webhook.token_file")?;
        Ok(WebhookConfig {
            listen,
            token_file,
            tls,
            body_bytes_max,
        })
    }
}

impl RawExpiry {
    fn resolve(self) -> ExpiryConfig {
        let severity = self.severity.into_iter();
        ExpiryConfig {
            default: self.default.unwrap_or(Lifetime::Days7).class(),
            severity: severity
                .map(|(name, life)| (name.to_lowercase(), life.class()))
                .collect(),
        }
    }
}

fn path(folder: &Path, path: Option<PathBuf>, key: &'static str) -> Result<PathBuf, ConfigError> {
    Ok(folder.join(path.ok_or(ConfigError::Missing { key })?))
}
