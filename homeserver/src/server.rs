//! A whole server in one value: the parts, the listeners, and their end.
//!
//! Invariant: started means bound, migrated and serving; stopped means that no request runs and the database is closed.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    net::SocketAddr,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ruma::serde::Base64;
use rustls::crypto::ring;
use tokio::task::JoinHandle;

use crate::{
    app::{App, Foundation},
    clock::{Clock, Rng},
    config::Config,
    drain::Drain,
    http::edge::Edge,
    key_files::{self, KeyFileError, create_private_file},
    listener::{Certificates, ListenerError, Listeners},
    outbound::{OutboundError, SplitTransport, Transport},
    rooms::{Departures, Fallback, expiry::Purge},
    router,
    store::{
        Claim, FileKeyStore, KeyStoreError, ShredKeys, Store, StoreError, StoreOptions, StoredKey,
    },
    sync::Pushes,
};

#[cfg(test)]
mod tests;

/// The file in the data folder that a server holds locked as long as it runs.
const LOCK_FILE: &str = "serve.lock";
/// How long a server waits for the database of one that has just been killed.
const CLAIM_PATIENCE: Duration = Duration::from_secs(10);
/// How often a server looks whether its database is still its own.
const CLAIM_EVERY: Duration = Duration::from_secs(30);

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key is missing or unusable.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The file of the database, or that of its lock, cannot be made.
    #[error("{}: {source}", .path.display())]
    DatabaseFile {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The data folder is served already.
    #[error("{}: another server runs on this folder", .0.display())]
    FolderTaken(PathBuf),
    /// The database is served already.
    #[error("another server runs on this database")]
    DatabaseTaken,
    /// The database cannot be used.
    #[error("the database cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The keys of expiring content cannot be used.
    #[error(transparent)]
    ExpiryKeys(Arc<KeyStoreError>),
    /// Requests to other servers cannot be set up.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// A listener cannot be had.
    #[error(transparent)]
    Listener(#[from] ListenerError),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The parts.
    app: App,
    /// The layers, whose limits can change.
    edge: Edge,
    /// Where it listens.
    addresses: Vec<SocketAddr>,
    /// The certificates, which can change.
    certificates: Certificates,
    /// Its end.
    drain: Drain,
    /// The listeners.
    serving: JoinHandle<()>,
    /// The right to serve its database.
    claim: Arc<Claim>,
    /// The right to serve its folder, as long as the file is open.
    _folder: File,
}

impl Server {
    /// Starts a server as configured, with the keys in its data folder.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self, StartError> {
        // Libraries that ask for the process's provider get ring. An error says that it is there already.
        let _ = ring::default_provider().install_default();
        let federation = Arc::new(config.federation.clone());
        let transport = Arc::new(SplitTransport::new(federation, Arc::clone(&clock))?);
        Self::start_with(config, clock, rng, transport).await
    }

    /// Starts a server that reaches others by `transport`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with(
        config: Config,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError> {
        warn_of_readers(&config.data_dir);
        let token_key = key_files::load_token_key(&config.token_key_path())?;
        let folder = lock_folder(&config.data_dir)?;
        let listeners = Listeners::bind(&config.listeners).await?;
        let claim = Claim::take(&store_options(&config), CLAIM_PATIENCE).await?;
        let claim = Arc::new(claim.ok_or(StartError::DatabaseTaken)?);
        let store = open_to_serve(&config, &rng).await?;
        // Whoever holds the folder is the only server on it, so that nobody signs with a key that is retired here.
        let (signing_key, retired) =
            key_files::rotation::take_over(&config.signing_key_path(), clock.now_ms())?;
        let drain = Drain::new();
        let edge = Edge::new(&config.rate_limits, &clock, &rng);
        edge.watch_expiry(store.expiry_meter());
        let app = App::new(Foundation {
            clock: Arc::clone(&clock),
            rng,
            config: Arc::new(config),
            store,
            token_key,
            signing_key: Arc::new(signing_key),
            retired_keys: retired.into_iter().map(stored).collect(),
            transport,
            drain: drain.clone(),
        });
        edge.watch(app.sender.clone());
        let purge_interval = app.config.expiry.purge_interval();
        let purge = Purge::new(Arc::clone(&app.rooms), drain.clone(), purge_interval);
        drain.spawn(purge.run());
        let fallback = Fallback::new(Arc::clone(&app.rooms), drain.clone(), purge_interval);
        drain.spawn(fallback.run());
        drain.spawn(Departures::new(Arc::clone(&app.rooms), drain.clone()).run());
        let gateway = app.push_gateway.clone();
        let pushes = Pushes::new(Arc::clone(&app.sync), gateway, drain.clone());
        drain.spawn(pushes.run());
        if claim.can_be_lost() {
            drain.spawn(keep(Arc::clone(&claim), Arc::clone(&clock), drain.clone()));
        }
        let (addresses, certificates) = (listeners.addresses(), listeners.certificates());
        let serving = {
            let (app, edge, drain) = (app.clone(), edge.clone(), drain.clone());
            let routes = move |resources: &_| edge.wrap(router::routes(&app, resources), resources);
            tokio::spawn(async move { listeners.serve(routes, clock, &drain).await })
        };
        Ok(Self {
            app,
            edge,
            addresses,
            certificates,
            drain,
            serving,
            claim,
            _folder: folder,
        })
    }

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its parts, for tests that look inside.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Takes over what may change while running: certificates, which are read again, and rate limits.
    pub fn reload(&self, config: &Config) {
        self.edge.limiter.reconfigure(&config.rate_limits);
        for error in self.certificates.reload().err().into_iter().flatten() {
            tracing::error!(%error, "a certificate is not taken over");
        }
    }

    /// Waits until it ends by itself, because another server has taken its database.
    pub async fn gave_up(&self) {
        self.drain.begun().await;
    }

    /// Ends it: waits for requests, then closes the database.
    pub async fn stop(self) {
        self.drain.begin();
        // A listener that panicked has been logged.
        let _ = self.serving.await;
        self.app.store.close().await;
        // Nobody else has it: the task that looked after it has ended with the listeners.
        if let Some(claim) = Arc::into_inner(self.claim) {
            claim.release().await;
        }
    }
}

/// A retired key as other keys are held.
fn stored(key: key_files::rotation::RetiredKey) -> StoredKey {
    StoredKey {
        key_id: format!("ed25519:{}", key.version),
        public_key: Base64::new(key.public.to_vec()),
        valid_until_ts: key.expired_ms,
    }
}

/// Takes the data folder for this process, whatever way that ends.
fn lock_folder(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let failed = |source| StartError::DatabaseFile {
        path: path.clone(),
        source,
    };
    let file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::FolderTaken(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Ends the server if another one took its database while this one could not reach it: two would each sign, send and purge.
async fn keep(claim: Arc<Claim>, clock: Arc<dyn Clock>, drain: Drain) {
    loop {
        tokio::select! {
            () = drain.begun() => return,
            () = clock.sleep(CLAIM_EVERY) => {}
        }
        match claim.holds().await {
            Ok(true) => {}
            Ok(false) => {
                tracing::error!("another server has taken the database: this one ends");
                return drain.begin();
            }
            Err(error) => {
                tracing::error!(%error, "whether the database is still ours is not known")
            }
        }
    }
}

/// Tells the operator if others than the server's user may look into the data folder.
fn warn_of_readers(data_dir: &Path) {
    let mode = fs::metadata(data_dir).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!("data_dir is open to other users of this machine: chmod 700 it");
    }
}

/// Opens the database with the keys of what expires in it.
async fn open_to_serve(config: &Config, rng: &Arc<dyn Rng>) -> Result<Arc<Store>, StartError> {
    let keys = match &config.expiry.key_store {
        Some(folder) => ShredKeys::Held {
            store: Arc::new(FileKeyStore::new(folder.clone())),
            rng: Arc::clone(rng),
        },
        None => {
            tracing::info!(
                "expiry.key_store is not set: a backup keeps what expires after it was made"
            );
            ShredKeys::Absent
        }
    };
    open_with(config, keys).await
}

/// Opens the database for a command that neither reads nor writes what expires.
pub(crate) async fn open_store(config: &Config) -> Result<Arc<Store>, StartError> {
    open_with(config, ShredKeys::Unread).await
}

/// Opens the database, which only the server's user may read if it is a new file.
async fn open_with(config: &Config, keys: ShredKeys) -> Result<Arc<Store>, StartError> {
    let url = config.database_url();
    if let Some(path) = url.expose().strip_prefix("sqlite:") {
        // SQLite makes a database of an empty file, and its journals get the same mode.
        match create_private_file(Path::new(path), b"") {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(StartError::DatabaseFile {
                    path: path.into(),
                    source,
                });
            }
        }
    }
    let options = StoreOptions {
        keys,
        ..store_options(config)
    };
    Store::open(&options).await.map_err(|error| match error {
        StoreError::KeyStore(error) => StartError::ExpiryKeys(error),
        error => StartError::Store(error),
    })
}

/// Where the database is, and how much of it to use.
pub(crate) fn store_options(config: &Config) -> StoreOptions {
    let mut options = StoreOptions::new(config.database_url().expose());
    options.readers_max = config.database.pool_size;
    options.cache_bytes = u64::from(config.database.cache_mb) * 1024 * 1024;
    options
}
