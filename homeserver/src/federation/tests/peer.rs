//! Stories of other servers against the whole router, on a database of its own.

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{Request, header};
use http_body_util::BodyExt;
use ruma::{
    OwnedRoomId, RoomVersionId, ServerName, UserId,
    api::federation::authentication::{XMatrix, XMatrixSigningInput},
    server_name, user_id,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::{
    app::{App, Foundation},
    clock::{MockClock, SeededRng},
    config::Config,
    drain::Drain,
    key_files,
    outbound::testing::{Network, Peer, json as answer, key_pair},
    rooms::{Draft, NewRoom, Preset, Profile},
    router,
    store::{LogEnd, LogKind, Membership, NewMembership, RoomAppend, Scope, testing},
};

mod asking;
mod devices;
mod edus;
mod expired;
mod invites;
mod questions;
mod seen;
mod stubs;
mod transactions;

/// A server, and another one that speaks to it.
struct World {
    _folder: TempDir,
    network: Network,
    clock: MockClock,
    app: App,
    router: Router,
    peer: Peer,
}

/// What an event of Bob's membership leaves in the database.
fn bob_becomes(room: &OwnedRoomId, membership: Membership) -> RoomAppend {
    let member = NewMembership {
        user_id: bob().to_owned(),
        membership: Some(membership),
        event_id: "$event".try_into().unwrap(),
        is_local: false,
        stripped_state: None,
    };
    RoomAppend {
        room_id: Some(room.clone()),
        members: vec![member],
        ..RoomAppend::default()
    }
}

fn alice() -> &'static UserId {
    user_id!("@alice:here.org")
}

fn bob() -> &'static UserId {
    user_id!("@bob:peer.org")
}

fn peer_name() -> &'static ServerName {
    server_name!("peer.org")
}

impl World {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            Config::for_test(server_name!("here.org").to_owned(), folder.path().into());
        adjust(&mut config);
        key_files::create(&config.token_key_path(), &SeededRng::new(7)).unwrap();
        let clock = MockClock::default();
        let network = Network::default();
        let peer = Peer::start(&network, peer_name(), &clock);
        let app = App::new(Foundation {
            clock: Arc::new(clock.clone()),
            rng: Arc::new(SeededRng::new(1)),
            token_key: key_files::load_token_key(&config.token_key_path()).unwrap(),
            signing_key: key_pair("here"),
            retired_keys: Vec::new(),
            transport: Arc::new(network.clone()),
            store: testing::open_in(folder.path()).await,
            config: Arc::new(config),
            drain: Drain::new(),
        });
        let router = router::federation(&app);
        Self {
            _folder: folder,
            network,
            clock,
            app,
            router,
            peer,
        }
    }

    /// Makes Alice's account, if there is none.
    async fn alice_is_there(&self) {
        super::open_account(&self.app, alice().to_owned()).await;
    }

    /// A room of Alice in which Bob is.
    async fn shared_room(&self) -> OwnedRoomId {
        let room = NewRoom {
            creator: alice().to_owned(),
            profile: Profile::default(),
            version: RoomVersionId::V11,
            preset: Preset::PrivateChat,
            creation_content: Default::default(),
            power_levels: Default::default(),
            initial_state: Vec::new(),
            name: None,
            topic: None,
            alias: None,
            invite: Vec::new(),
            invite_remote: Vec::new(),
            is_direct: false,
        };
        let room = self.app.rooms.create(&room).await.unwrap();
        self.set(&room, Membership::Join).await;
        room
    }

    /// Sets Bob's membership, as an append of his event does.
    async fn set(&self, room: &OwnedRoomId, membership: Membership) {
        let append = bob_becomes(room, membership);
        self.app.store.commit(append).await.unwrap().output.unwrap();
        self.app.rooms.forget_room(room);
    }

    /// Names a server in the room's access control list.
    async fn deny(&self, room: &OwnedRoomId, server: &str) {
        let content = json!({"allow": ["*"], "deny": [server]});
        let draft = Draft {
            room_id: room.clone(),
            sender: alice().to_owned(),
            kind: "m.room.server_acl".into(),
            state_key: Some(String::new()),
            content: serde_json::value::to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        self.app.rooms.send(draft).await.unwrap();
    }

    /// A signed request of the peer: status and JSON.
    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .body(body)
            .unwrap();
        let keys = &self.peer.keys;
        let signing = XMatrixSigningInput::new(
            keys.server_name().to_owned(),
            server_name!("here.org").to_owned(),
            keys.key_pair(),
        );
        let signature = XMatrix::sign_http_request(&request, signing).unwrap();
        request
            .headers_mut()
            .insert(header::AUTHORIZATION, (&signature).into());
        let response = self
            .router
            .clone()
            .oneshot(request.map(Body::from))
            .await
            .unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Sends a transaction.
    async fn send(&self, id: &str, pdus: Value, edus: Value) -> (u16, Value) {
        let body = json!({"origin": "peer.org", "origin_server_ts": 1, "pdus": pdus, "edus": edus});
        self.ask("PUT", &format!("/_matrix/federation/v1/send/{id}"), body)
            .await
    }

    /// Sends one EDU and expects that it is answered as if all were well.
    async fn edu(&self, id: &str, kind: &str, content: Value) {
        let edu = json!({"edu_type": kind, "content": content});
        assert_eq!(
            self.send(id, json!([]), json!([edu])).await,
            (200, json!({"pdus": {}}))
        );
    }

    /// How many changes of a user's keys clients were told of.
    async fn key_changes(&self, user: &UserId) -> usize {
        let rows = self
            .app
            .store
            .log_of(Scope::Keys(user), 0, i64::MAX, LogEnd::Oldest, 100)
            .await;
        rows.unwrap()
            .iter()
            .filter(|row| row.kind == LogKind::DeviceList)
            .count()
    }
}
