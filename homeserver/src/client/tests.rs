//! Stories of the client-server API against the whole router, on a database of their own.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use axum::{Router, body::Body};
use http::Request;
use http_body_util::BodyExt;
use ruma::server_name;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    app::{App, Foundation},
    clock::{MockClock, SeededRng},
    config::{Config, Resource},
    key_files,
    outbound::testing::Network,
    router,
    store::testing,
};

mod accounts;
mod backups;
mod bodies;
mod conformance;
mod creation;
mod data;
mod dehydrated;
mod details;
mod directory;
mod elsewhere;
mod json;
mod keys;
mod login_page;
mod media;
mod mismatched;
mod moderation;
mod push_rules;
mod reactions;
mod rooms;
mod search;
mod sessions;
mod small;
mod spaces;
mod strict;
mod sync;
mod threads;
mod to_device;

/// The password of every test user.
const PASSWORD: &str = "quetzal feathers";

/// A server without listeners.
struct Server {
    folder: tempfile::TempDir,
    clock: MockClock,
    app: App,
    router: Router,
    /// The other servers that there are.
    network: Network,
}

/// Somebody who is logged in.
#[derive(Clone)]
struct User {
    id: String,
    device: String,
    token: String,
}

/// An answer: status and JSON.
type Answer = (u16, Value);

impl Server {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            Config::for_test(server_name!("example.org").to_owned(), folder.path().into());
        adjust(&mut config);
        key_files::create(&config.token_key_path(), &SeededRng::new(7)).unwrap();
        key_files::create(&config.signing_key_path(), &SeededRng::new(8)).unwrap();
        let clock = MockClock::default();
        let network = Network::default();
        let (app, router) = open(folder.path(), config, &clock, 1, &network).await;
        Self {
            network,
            folder,
            clock,
            app,
            router,
        }
    }

    /// Stops and starts again on the same files.
    async fn restart(self) -> Self {
        self.app.store.close().await;
        let config = (*self.app.config).clone();
        let (app, router) = open(self.folder.path(), config, &self.clock, 2, &self.network).await;
        Self {
            app,
            router,
            ..self
        }
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        self.send(method, path, token, body).await
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: Body) -> Answer {
        let path = if path.starts_with("/_") || path.starts_with("/.") {
            path.to_owned()
        } else {
            format!("/_matrix/client/v3{path}")
        };
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.answer(request.body(body).unwrap()).await
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn get(&self, user: &User, path: &str) -> Answer {
        self.call("GET", path, &user.token, Value::Null).await
    }

    async fn post(&self, user: &User, path: &str, body: Value) -> Answer {
        self.call("POST", path, &user.token, body).await
    }

    async fn put(&self, user: &User, path: &str, body: Value) -> Answer {
        self.call("PUT", path, &user.token, body).await
    }

    async fn register(&self, name: &str) -> User {
        let body = json!({
            "username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"},
        });
        let (status, answer) = self.call("POST", "/register", "", body).await;
        assert_eq!(status, 200, "{answer}");
        user_of(&answer)
    }

    async fn login(&self, name: &str) -> User {
        let (status, answer) = self
            .call("POST", "/login", "", login_body(name, PASSWORD))
            .await;
        assert_eq!(status, 200, "{answer}");
        user_of(&answer)
    }
}

async fn open(
    folder: &Path,
    config: Config,
    clock: &MockClock,
    seed: u64,
    network: &Network,
) -> (App, Router) {
    let foundation = Foundation {
        clock: Arc::new(clock.clone()),
        rng: Arc::new(SeededRng::new(seed)),
        token_key: key_files::load_token_key(&config.token_key_path()).unwrap(),
        signing_key: Arc::new(key_files::load_signing_key(&config.signing_key_path()).unwrap()),
        retired_keys: Vec::new(),
        transport: Arc::new(network.clone()),
        store: testing::open_in(folder).await,
        config: Arc::new(config),
        drain: crate::drain::Drain::new(),
    };
    let app = App::new(foundation);
    let served = BTreeSet::from([Resource::Client, Resource::Media]);
    let router = router::routes(&app, &served);
    (app, router)
}

fn user_of(answer: &Value) -> User {
    let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
    User {
        id: text("user_id"),
        device: text("device_id"),
        token: text("access_token"),
    }
}

fn login_body(name: &str, password: &str) -> Value {
    json!({
        "type": "m.login.password", "password": password,
        "identifier": {"type": "m.id.user", "user": name},
    })
}

/// The password stage of user-interactive authentication.
fn password_auth(user: &User, session: &Value) -> Value {
    json!({
        "type": "m.login.password", "password": PASSWORD, "session": session,
        "identifier": {"type": "m.id.user", "user": user.id},
    })
}

#[track_caller]
fn expect(answer: &Answer, status: u16, errcode: &str) {
    assert_eq!(answer.0, status, "{}", answer.1);
    assert_eq!(answer.1["errcode"], errcode, "{}", answer.1);
}

#[track_caller]
fn expect_ok(answer: Answer) -> Value {
    assert_eq!(answer.0, 200, "{}", answer.1);
    answer.1
}
