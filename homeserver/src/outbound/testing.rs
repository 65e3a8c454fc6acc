//! What the tests of this folder share: other servers within the process, and a database that is thrown away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use ruma::{OwnedServerName, ServerName, signatures::Ed25519KeyPair};
use tempfile::TempDir;

use super::{
    Bounds, OwnKeys, Pending, ProjectionError, Remote, RemoteError, Sender, SenderContext,
    ServerKeys, Transport, signed_document,
};
use crate::{
    clock::{Clock, MockClock, SeededRng},
    config::{Config, FederationConfig},
    drain::Drain,
    store::{Store, testing},
};

/// A database in a folder that goes away with it.
pub(crate) struct TestStore {
    pub(crate) store: Arc<Store>,
    pub(crate) folder: TempDir,
}

impl TestStore {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = testing::open_in(folder.path()).await;
        Self { store, folder }
    }

    /// Closes the database and opens it again, as a restart does.
    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = testing::open_in(self.folder.path()).await;
    }
}

/// A new signing key.
pub(crate) fn key_pair(version: &str) -> Arc<Ed25519KeyPair> {
    let document = Ed25519KeyPair::generate();
    Arc::new(Ed25519KeyPair::from_der(&document, version.to_owned()).unwrap())
}

/// The signing key that belongs to a seed of 32 bytes.
pub(crate) fn key_pair_of(seed: [u8; 32], version: &str) -> Arc<Ed25519KeyPair> {
    // PKCS #8, version 1, for Ed25519 (RFC 8410, section 7): all but the seed is the same for every key.
    let mut document = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70,
    ];
    document.extend([0x04, 0x22, 0x04, 0x20]);
    document.extend(seed);
    Arc::new(Ed25519KeyPair::from_der(&document, version.to_owned()).unwrap())
}

/// The configuration of federation in tests.
pub(crate) fn federation(name: &ServerName) -> Arc<FederationConfig> {
    Arc::new(Config::for_test(name.to_owned(), "unused".into()).federation)
}

/// What a server answers.
pub(crate) type Answer = Box<dyn Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync>;

/// A request and to whom it went.
pub(crate) type Sent = (OwnedServerName, Request<Bytes>);

/// A network within the process: each server is a function. Servers that are not there cannot be connected to.
#[derive(Clone, Default)]
pub(crate) struct Network {
    servers: Arc<Mutex<BTreeMap<OwnedServerName, Answer>>>,
    requests: Arc<Mutex<Vec<Sent>>>,
    /// Servers that take requests and never answer.
    silent: Arc<Mutex<BTreeSet<OwnedServerName>>>,
    /// One reference more for each request that such a server has.
    hanging: Arc<()>,
    /// How many such requests there have been.
    hung: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
    pub(crate) fn serve(
        &self,
        server: &ServerName,
        answer: impl Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) {
        let mut servers = self.servers.lock().unwrap();
        servers.insert(server.to_owned(), Box::new(answer));
    }

    /// From now on the server takes requests and never answers.
    pub(crate) fn silence(&self, server: &ServerName) {
        self.silent.lock().unwrap().insert(server.to_owned());
    }

    /// From now on the server answers again, if it is there.
    pub(crate) fn unsilence(&self, server: &ServerName) {
        self.silent.lock().unwrap().remove(server);
    }

    /// How many requests were made of servers that never answer.
    pub(crate) fn hung(&self) -> usize {
        self.hung.load(Ordering::Relaxed)
    }

    /// How many requests wait for servers that never answer.
    pub(crate) fn hanging(&self) -> usize {
        Arc::weak_count(&self.hanging)
    }

    pub(crate) fn remove(&self, server: &ServerName) {
        self.servers.lock().unwrap().remove(server);
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Sent> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests were made of a server.
    pub(crate) fn count(&self, server: &ServerName) -> usize {
        self.requests()
            .iter()
            .filter(|(name, _)| name == server)
            .count()
    }
}

impl Transport for Network {
    fn request<'a>(
        &'a self,
        destination: &'a ServerName,
        request: Request<Bytes>,
        _: Bounds,
    ) -> Pending<'a, Result<Response<Bytes>, RemoteError>> {
        Box::pin(async move {
            let sent = (destination.to_owned(), request.clone());
            self.requests.lock().unwrap().push(sent);
            let is_silent = self.silent.lock().unwrap().contains(destination);
            if is_silent {
                let _hanging = Arc::downgrade(&self.hanging);
                self.hung.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            let servers = self.servers.lock().unwrap();
            let answer = servers.get(destination).ok_or(RemoteError::Connect)?;
            Ok(answer(&request))
        })
    }

    fn web<'a>(
        &'a self,
        host: &'a str,
        _: u16,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> Pending<'a, Result<Response<Bytes>, RemoteError>> {
        Box::pin(async move {
            let host = ServerName::parse(host).map_err(|_| RemoteError::Request)?;
            self.request(&host, request, bounds).await
        })
    }
}

/// An answer in JSON.
pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// Another server that only has keys.
pub(crate) struct Peer {
    pub(crate) keys: OwnKeys,
}

impl Peer {
    /// A server in the network that answers with its keys.
    pub(crate) fn start(network: &Network, name: &ServerName, clock: &MockClock) -> Self {
        let keys = OwnKeys::new(name.to_owned(), key_pair("peer"), Arc::new(clock.clone()));
        let published = keys.clone();
        network.serve(name, move |_| {
            let document = signed_document(&published).unwrap();
            json(200, document.json().get().to_owned())
        });
        Self { keys }
    }
}

/// This server, as far as keys and requests go.
pub(crate) struct Here {
    pub(crate) clock: MockClock,
    pub(crate) network: Network,
    pub(crate) remote: Remote,
    pub(crate) keys: ServerKeys,
    pub(crate) config: Arc<FederationConfig>,
    pub(crate) store: TestStore,
}

impl Here {
    pub(crate) async fn start(name: &ServerName) -> Self {
        Self::with_config(name, federation(name)).await
    }

    pub(crate) async fn with_config(name: &ServerName, config: Arc<FederationConfig>) -> Self {
        let clock = MockClock::default();
        let network = Network::default();
        let store = TestStore::open().await;
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let own = OwnKeys::new(name.to_owned(), key_pair("here"), Arc::clone(&shared));
        let remote = Remote::new(
            name.to_owned(),
            Arc::clone(own.key_pair()),
            Arc::clone(&config),
            Arc::new(network.clone()),
            Arc::clone(&shared),
        );
        let keys = ServerKeys::new(
            own,
            Arc::clone(&store.store),
            remote.clone(),
            &config,
            shared,
        );
        Self {
            clock,
            network,
            remote,
            keys,
            config,
            store,
        }
    }

    /// A sender that has nothing to send but what the log says.
    pub(crate) fn sender(&self) -> Sender {
        Sender::start(SenderContext {
            store: Arc::clone(&self.store.store),
            remote: self.remote.clone(),
            clock: Arc::new(self.clock.clone()),
            rng: Arc::new(SeededRng::new(1)),
            projection: |_, _| Err(ProjectionError),
            edus: Vec::new(),
            drain: Drain::new(),
        })
    }
}
