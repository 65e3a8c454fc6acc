//! The configuration: one TOML file, one file of this folder a section, and `PASSEUR__SECTION__KEY` from the environment.
//!
//! Invariant: a [`Config`] from [`Config::load`] has been checked as a whole; a key that nobody reads, or two that contradict each
//! other, refuse it with file, line and what to do. Every relative path is taken from the folder of the file.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use ruma::OwnedServerName;
use serde::Deserialize;

mod address_rules;
mod admin;
mod changes;
mod database;
mod expiry;
mod federation;
mod listeners;
mod load;
mod log;
mod media;
mod passwords;
mod presence;
mod problem;
mod profiles;
mod rate_limits;
mod registration;
mod rooms;
mod secret;
mod template;
#[cfg(test)]
mod tests;
mod turn;
mod well_known;

pub(crate) use self::expiry::is_inside;
pub use self::{
    address_rules::is_public,
    admin::AdminConfig,
    database::DatabaseConfig,
    expiry::ExpiryConfig,
    federation::{FederationConfig, is_onion},
    listeners::{ListenerConfig, Resource, TlsConfig},
    log::{LogConfig, LogFormat, LogLevel},
    media::MediaConfig,
    passwords::PasswordsConfig,
    presence::PresenceConfig,
    problem::{ConfigError, Problem, Problems},
    profiles::ProfilesConfig,
    rate_limits::{RateClass, RateLimit, RateLimitsConfig},
    registration::{RegistrationConfig, RegistrationMode},
    rooms::RoomsConfig,
    secret::Secret,
    template::template,
    turn::TurnConfig,
    well_known::{SupportContact, WellKnownConfig},
};

/// Name of the file that holds the server's signing key, in the data folder.
const SIGNING_KEY_FILE: &str = "signing.key";

/// Name of the file that holds the key of the access tokens, in the data folder.
const TOKEN_KEY_FILE: &str = "tokens.key";

/// Everything that an operator decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name that user IDs end in, with or without a port. It can never change.
    pub server_name: OwnedServerName,
    /// The folder of keys, media and an SQLite database.
    pub data_dir: PathBuf,
    /// Where the server listens.
    pub listeners: Vec<ListenerConfig>,
    /// Where it stores.
    pub database: DatabaseConfig,
    /// Who may make an account.
    pub registration: RegistrationConfig,
    /// What hashing a password costs.
    pub passwords: PasswordsConfig,
    /// How new rooms are made.
    pub rooms: RoomsConfig,
    /// With whom it federates, and how.
    pub federation: FederationConfig,
    /// How often each kind of request may come.
    pub rate_limits: RateLimitsConfig,
    /// Who administers the server.
    pub admin: AdminConfig,
    /// What is logged.
    pub log: LogConfig,
    /// What may be uploaded, and where it is kept.
    pub media: MediaConfig,
    /// What `/.well-known/matrix/` says.
    pub well_known: WellKnownConfig,
    /// Whether presence is offered.
    pub presence: PresenceConfig,
    /// When expired content is destroyed.
    pub expiry: ExpiryConfig,
    /// The relay for calls.
    pub turn: TurnConfig,
    /// To whom profiles are shown.
    pub profiles: ProfilesConfig,
}

/// The file as written, before it is checked.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConfigFile {
    /// See [`Config::server_name`].
    server_name: Option<String>,
    /// See [`Config::data_dir`].
    data_dir: Option<PathBuf>,
    /// See [`Config::listeners`].
    listeners: Vec<ListenerConfig>,
    /// See [`Config::database`].
    database: DatabaseConfig,
    /// See [`Config::registration`].
    registration: RegistrationConfig,
    /// See [`Config::passwords`].
    passwords: PasswordsConfig,
    /// See [`Config::rooms`].
    rooms: RoomsConfig,
    /// See [`Config::federation`].
    federation: FederationConfig,
    /// See [`Config::rate_limits`].
    rate_limits: RateLimitsConfig,
    /// See [`Config::admin`].
    admin: AdminConfig,
    /// See [`Config::log`].
    log: LogConfig,
    /// See [`Config::media`].
    media: MediaConfig,
    /// See [`Config::well_known`].
    well_known: WellKnownConfig,
    /// See [`Config::presence`].
    presence: PresenceConfig,
    /// See [`Config::expiry`].
    expiry: ExpiryConfig,
    /// See [`Config::turn`].
    turn: TurnConfig,
    /// See [`Config::profiles`].
    profiles: ProfilesConfig,
}

impl Config {
    /// Reads `file`, lays `environment` over it and checks the whole.
    ///
    /// # Errors
    /// All problems found, each with its place and a remedy.
    pub fn load(
        file: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        load::load(file, environment)
    }

    /// A configuration for tests: no listeners, open registration, the cheapest password hash, no rate limits, and loopback
    /// allowed as a federation peer.
    #[must_use]
    pub fn for_test(server_name: OwnedServerName, data_dir: PathBuf) -> Self {
        let loopback = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ]
        .map(IpNet::from);
        Self {
            server_name,
            data_dir,
            listeners: Vec::new(),
            database: DatabaseConfig::default(),
            registration: RegistrationConfig {
                mode: RegistrationMode::Open,
                ..RegistrationConfig::default()
            },
            passwords: PasswordsConfig {
                memory_kib: 8,
                iterations: 1,
                parallelism: 1,
            },
            rooms: RoomsConfig::default(),
            federation: FederationConfig {
                private_ranges: loopback.to_vec(),
                ..FederationConfig::default()
            },
            rate_limits: RateLimitsConfig {
                enabled: false,
                ..RateLimitsConfig::default()
            },
            admin: AdminConfig::default(),
            log: LogConfig::default(),
            media: MediaConfig::default(),
            well_known: WellKnownConfig::default(),
            presence: PresenceConfig::default(),
            expiry: ExpiryConfig::default(),
            turn: TurnConfig::default(),
            profiles: ProfilesConfig::default(),
        }
    }

    /// Where the database is: `sqlite:` and a path, or a `postgres:` URL.
    #[must_use]
    pub fn database_url(&self) -> Secret {
        self.database.resolved(&self.data_dir)
    }

    /// The folder of uploaded and cached media.
    #[must_use]
    pub fn media_dir(&self) -> PathBuf {
        self.media
            .path
            .clone()
            .unwrap_or_else(|| self.data_dir.join("media"))
    }

    /// The file of the server's signing key, in the format of [`crate::key_files`].
    #[must_use]
    pub fn signing_key_path(&self) -> PathBuf {
        self.data_dir.join(SIGNING_KEY_FILE)
    }

    /// The file of the key that signs access tokens, in the format of [`crate::key_files`].
    #[must_use]
    pub fn token_key_path(&self) -> PathBuf {
        self.data_dir.join(TOKEN_KEY_FILE)
    }

    /// Checks what is written and makes it a configuration; relative paths are taken from `folder`.
    fn assemble(mut file: ConfigFile, folder: &Path) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        file.resolve_paths(folder);
        file.registration.read_secret(&mut problems);
        let server_name = file.checked_server_name(&mut problems);
        if file.data_dir.is_none() {
            problems.add("data_dir", "is missing: say where keys, media and the database live, as data_dir = \"/var/lib/passeur\"");
        }
        file.check_sections(&mut problems);
        let (Some(server_name), Some(data_dir)) = (server_name, file.data_dir) else {
            return Err(problems);
        };
        file.admin.check(&server_name, &mut problems);
        let media = file.media.path.as_deref();
        let data = [Some(&*data_dir), media].into_iter().flatten();
        file.expiry.check(data, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            server_name,
            data_dir,
            listeners: file.listeners,
            database: file.database,
            registration: file.registration,
            passwords: file.passwords,
            rooms: file.rooms,
            federation: file.federation,
            rate_limits: file.rate_limits,
            admin: file.admin,
            log: file.log,
            media: file.media,
            well_known: file.well_known,
            presence: file.presence,
            expiry: file.expiry,
            turn: file.turn,
            profiles: file.profiles,
        })
    }
}

impl ConfigFile {
    /// Makes every path absolute or relative to the process's folder, so that nothing later needs to know where the file was.
    fn resolve_paths(&mut self, folder: &Path) {
        let listeners = self
            .listeners
            .iter_mut()
            .filter_map(|listener| listener.tls.as_mut());
        let paths = listeners
            .flat_map(|tls| [&mut tls.certificate, &mut tls.key])
            .chain(&mut self.data_dir)
            .chain(&mut self.registration.shared_secret_file)
            .chain(&mut self.federation.ca_files)
            .chain(&mut self.media.path)
            .chain(&mut self.expiry.key_store);
        for path in paths {
            // Without `.` in the middle, since paths are shown to people.
            *path = folder.join(&*path).components().collect();
        }
    }

    /// The server's name, if it is one.
    fn checked_server_name(&self, problems: &mut Problems) -> Option<OwnedServerName> {
        let Some(name) = &self.server_name else {
            problems.add("server_name", "is missing: add server_name = \"example.org\", the part of user IDs after the colon");
            return None;
        };
        match ruma::ServerName::parse(name) {
            Ok(name) => Some(name),
            Err(_) => {
                problems.add("server_name", format!("{name:?} is no server name: write a host with or without a port, as example.org:8448"));
                None
            }
        }
    }

    /// Each section alone, then what two of them say about the same thing.
    fn check_sections(&self, problems: &mut Problems) {
        ListenerConfig::check_all(&self.listeners, problems);
        self.database.check(problems);
        self.registration.check(problems);
        self.passwords.check(problems);
        self.rooms.check(problems);
        self.federation.check(problems);
        self.rate_limits.check(problems);
        self.media.check(problems);
        self.well_known.check(problems);
        self.turn.check(problems);
        let federated =
            |listener: &ListenerConfig| listener.resources.contains(&Resource::Federation);
        if self.federation.enabled && !self.listeners.iter().any(federated) {
            problems.add("federation.enabled", "is true, but no listener has the resource \"federation\": add it to one, or set enabled = false");
        }
        if let Some(index) = self
            .listeners
            .iter()
            .position(federated)
            .filter(|_| !self.federation.enabled)
        {
            let key = format!("listeners.{index}.resources");
            problems.add(
                key,
                "has \"federation\", but federation.enabled is false: remove one of the two",
            );
        }
    }
}
