//! A whole server in this process, and wires instead of sockets.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use passeur_homeserver::{
    app::{App, Foundation},
    clock::{OsRng, SystemClock},
    config::Config,
    drain::Drain,
    key_files,
    outbound::{Bounds, Pending, RemoteError, Transport},
    router,
    store::{Store, StoreOptions},
};
use ruma::{OwnedServerName, ServerName, signatures::Ed25519KeyPair};
use tempfile::TempDir;
use tower::ServiceExt;

/// A network that reaches the routers of this process.
#[derive(Clone, Default)]
pub(crate) struct Wires(Arc<Mutex<BTreeMap<OwnedServerName, Router>>>);

impl std::fmt::Debug for Wires {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wires")
    }
}

impl Transport for Wires {
    fn request<'a>(
        &'a self,
        destination: &'a ServerName,
        request: Request<Bytes>,
        _: Bounds,
    ) -> Pending<'a, Result<Response<Bytes>, RemoteError>> {
        Box::pin(async move {
            let router = self.0.lock().unwrap().get(destination).cloned();
            let router = router.ok_or(RemoteError::Connect)?;
            let response = router.oneshot(request.map(Body::from)).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            Ok(Response::from_parts(parts, bytes))
        })
    }
}

/// A server on a new database.
pub(crate) struct Server {
    pub(crate) name: OwnedServerName,
    pub(crate) app: App,
    pub(crate) key_pair: Arc<Ed25519KeyPair>,
    _folder: TempDir,
}

impl Server {
    pub(crate) async fn start(name: &str, wires: &Wires) -> Self {
        let folder = TempDir::new().unwrap();
        let name: OwnedServerName = name.try_into().unwrap();
        let config = Config::for_test(name.clone(), folder.path().into());
        key_files::create(&config.token_key_path(), &OsRng).unwrap();
        let document = Ed25519KeyPair::generate();
        let key_pair = Ed25519KeyPair::from_der(&document, "1".to_owned()).unwrap();
        let key_pair = Arc::new(key_pair);
        let url = format!("sqlite:{}", folder.path().join("passeur.db").display());
        let app = App::new(Foundation {
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(OsRng),
            token_key: key_files::load_token_key(&config.token_key_path()).unwrap(),
            config: Arc::new(config),
            store: Store::open(&StoreOptions::new(url)).await.unwrap(),
            signing_key: Arc::clone(&key_pair),
            retired_keys: Vec::new(),
            transport: Arc::new(wires.clone()),
            drain: Drain::new(),
        });
        let router = router::federation(&app);
        wires.0.lock().unwrap().insert(name.clone(), router);
        Self {
            name,
            app,
            key_pair,
            _folder: folder,
        }
    }
}
