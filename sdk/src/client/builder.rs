//! Configures a client.
//!
//! Invariant: nothing goes over the wire before somebody logs in.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::sync::{broadcast, watch};

use super::{Client, ClientError, Config, Inner, Timekeeper, stream::STREAM_ITEMS_MAX};
use crate::{
    clock::{Clock, Rng, SystemClock, SystemRng},
    crypto::{MemberPolicy, QrAbilities, SharingPolicy},
    http::{HttpClient, HttpConfig, HttpSetupError},
    send_queue::SendQueue,
    store::{DatabaseStore, MemoryStore, Store, StoreKey},
    sync_loop::{SocketSlot, Syncing, WaitingEvents},
};

/// The first pause between two tries, unless set.
const RETRY_FIRST: Duration = Duration::from_millis(500);

/// The longest pause between two tries, unless set.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Configures a client.
#[must_use]
pub struct ClientBuilder {
    http: HttpConfig,
    store: StoreChoice,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    config: Config,
}

/// Which store is used.
enum StoreChoice {
    Memory,
    Database(PathBuf, StoreKey),
    Given(Arc<dyn Store>),
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            http: HttpConfig::default(),
            store: StoreChoice::Memory,
            clock: Arc::new(SystemClock),
            rng: Arc::new(SystemRng),
            config: Config {
                device_name: "Passeur".to_owned(),
                retry_first: RETRY_FIRST,
                retry_max: RETRY_MAX,
                use_socket: true,
                sharing: SharingPolicy::default(),
                members: MemberPolicy::default(),
                codes: QrAbilities::default(),
            },
        }
    }
}

impl ClientBuilder {
    /// The homeserver's base URL, e.g. `https://matrix.example.org`; plain HTTP only on loopback.
    pub fn homeserver(mut self, url: &str) -> Self {
        url.clone_into(&mut self.http.homeserver);
        self
    }

    /// Keeps everything in an encrypted database at `path`, whose folder must exist.
    pub fn store(self, path: &Path, passphrase: &str) -> Self {
        self.store_with_key(path, StoreKey::passphrase(passphrase))
    }

    /// The same with a key that the caller keeps, or a passphrase.
    pub fn store_with_key(mut self, path: &Path, key: StoreKey) -> Self {
        self.store = StoreChoice::Database(path.to_owned(), key);
        self
    }

    /// Keeps everything in this store; without one everything is forgotten with the process.
    pub fn store_with(mut self, store: Arc<dyn Store>) -> Self {
        self.store = StoreChoice::Given(store);
        self
    }

    /// Trusts a root certificate in DER besides the system's.
    pub fn root_certificate(mut self, der: Vec<u8>) -> Self {
        self.http.extra_roots.push(CertificateDer::from(der));
        self
    }

    /// Trusts the root certificates in a PEM file besides the system's.
    ///
    /// # Errors
    ///
    /// [`HttpSetupError::RootCertificate`] if there are none in it.
    pub fn root_certificates_file(mut self, path: &Path) -> Result<Self, HttpSetupError> {
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|_| HttpSetupError::RootCertificate)?;
        if certificates.is_empty() {
            return Err(HttpSetupError::RootCertificate);
        }
        self.http.extra_roots.extend(certificates);
        Ok(self)
    }

    /// Trusts no other root certificates than those given: a pinned authority.
    pub fn only_given_roots(mut self) -> Self {
        self.http.only_extra_roots = true;
        self
    }

    /// Takes this certificate of the server's, in DER, and none but those given so, whoever has signed it: no authority can then put
    /// itself between. It is neither looked at for which name it is nor until when. Give the next one too before the server changes it.
    pub fn pinned_certificate(mut self, der: Vec<u8>) -> Self {
        self.http.pinned.push(CertificateDer::from(der));
        self
    }

    /// Goes through a proxy, `socks5h://host:port`; names are resolved there.
    pub fn socks_proxy(mut self, url: &str) -> Self {
        self.http.socks_proxy = Some(url.to_owned());
        self
    }

    /// What the account's list of devices shows, to whoever may see it.
    pub fn device_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config.device_name);
        self
    }

    /// Tells the time by another clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Draws transaction names and jitter from another source.
    pub fn rng(mut self, rng: Arc<dyn Rng>) -> Self {
        self.rng = rng;
        self
    }

    /// The first and the longest pause between two tries.
    pub fn retry_pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.config.retry_first = first;
        self.config.retry_max = longest;
        self
    }

    /// Syncs by long polling even where a WebSocket is offered.
    pub fn without_socket(mut self) -> Self {
        self.config.use_socket = false;
        self
    }

    /// Which devices of members get keys.
    pub fn sharing_policy(mut self, policy: SharingPolicy) -> Self {
        self.config.sharing = policy;
        self
    }

    /// What happens with members to whom no key was given before.
    pub fn member_policy(mut self, policy: MemberPolicy) -> Self {
        self.config.members = policy;
        self
    }

    /// What the program can do with the codes by which devices are verified; without it, nothing.
    pub fn qr_codes(mut self, abilities: QrAbilities) -> Self {
        self.config.codes = abilities;
        self
    }

    /// Opens the store and prepares the connection.
    ///
    /// # Errors
    ///
    /// [`ClientError::Setup`] if the connection cannot be prepared, [`ClientError::Store`] if the store cannot be opened or the
    /// passphrase is wrong.
    pub async fn build(self) -> Result<Client, ClientError> {
        if self.http.homeserver.is_empty() {
            return Err(ClientError::Missing("the homeserver's URL"));
        }
        let http = HttpClient::new(&self.http)?;
        let store: Arc<dyn Store> = match self.store {
            StoreChoice::Memory => Arc::new(MemoryStore::new()),
            StoreChoice::Database(path, key) => {
                let rng = Arc::new(SystemRng);
                Arc::new(DatabaseStore::open(&path, key, rng).await?)
            }
            StoreChoice::Given(store) => store,
        };
        Ok(Client {
            inner: Arc::new(Inner {
                config: self.config,
                http,
                store,
                time: Timekeeper::new(self.clock.clone()),
                clock: self.clock,
                rng: self.rng,
                session: Default::default(),
                backing_up: Default::default(),
                renewal: Default::default(),
                machine: Default::default(),
                outgoing: Default::default(),
                rooms: Default::default(),
                rooms_changed: watch::Sender::new(0),
                events: broadcast::Sender::new(STREAM_ITEMS_MAX),
                notifications: broadcast::Sender::new(STREAM_ITEMS_MAX),
                queue: SendQueue::default(),
                socket: SocketSlot::default(),
                waiting: WaitingEvents::default(),
                syncing: Syncing::default(),
                // By an earlier process, for all that is known.
                scrub_due: AtomicBool::new(true),
            }),
        })
    }
}
