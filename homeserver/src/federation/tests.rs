//! Two whole servers in one process, joined without sockets: joining, inviting, leaving, paging.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use passeur_protocol::versions;
use ruma::{OwnedRoomId, OwnedServerName, OwnedUserId, RoomVersionId, ServerName, UserId};
use serde_json::{Value, json, value::to_raw_value};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::{
    app::{App, Foundation},
    clock::{MockClock, SeededRng},
    config::Config,
    key_files,
    outbound::{Bounds, Pending, RemoteError, Transport, testing::key_pair},
    rooms::{Draft, JoinError, MembershipChange, NewRoom, Preset, Profile, SendError, projection},
    router,
    store::{CreateAccount, Direction, EventStatus, Membership, testing},
};

mod entering;
mod hostile;
mod invite_by_state;
mod leaving;
mod paging;
mod peer;
mod serving;
mod simulation;

/// A network that reaches the routers of this process.
#[derive(Clone, Default)]
struct Wires(Arc<Mutex<BTreeMap<OwnedServerName, Router>>>);

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

struct Server {
    app: App,
    _folder: TempDir,
}

async fn server(name: &str, wires: &Wires, clock: &MockClock, seed: u64) -> Server {
    let server = bare_server(name, wires, (clock, seed), |_| {}).await;
    let name: OwnedServerName = name.try_into().unwrap();
    for localpart in ["alice", "bob", "carol"] {
        let user_id = UserId::parse_with_server_name(localpart, &name).unwrap();
        open_account(&server.app, user_id).await;
    }
    server
}

/// A server without accounts.
async fn bare_server(
    name: &str,
    wires: &Wires,
    (clock, seed): (&MockClock, u64),
    adjust: impl FnOnce(&mut Config),
) -> Server {
    let folder = TempDir::new().unwrap();
    let name: OwnedServerName = name.try_into().unwrap();
    let mut config = Config::for_test(name.clone(), folder.path().into());
    adjust(&mut config);
    key_files::create(&config.token_key_path(), &SeededRng::new(seed)).unwrap();
    let app = App::new(Foundation {
        clock: Arc::new(clock.clone()),
        rng: Arc::new(SeededRng::new(seed)),
        token_key: key_files::load_token_key(&config.token_key_path()).unwrap(),
        config: Arc::new(config),
        store: testing::open_in(folder.path()).await,
        signing_key: key_pair("1"),
        retired_keys: Vec::new(),
        transport: Arc::new(wires.clone()),
        drain: crate::drain::Drain::new(),
    });
    wires
        .0
        .lock()
        .unwrap()
        .insert(name, router::federation(&app));
    Server {
        app,
        _folder: folder,
    }
}

/// An account that nothing opens.
async fn open_account(app: &App, user_id: OwnedUserId) {
    let account = CreateAccount {
        user_id,
        password_hash: None,
        registration_token: None,
        session: None,
        now_ms: 0,
    };
    app.store.commit(account).await.unwrap();
}

struct Pair {
    one: Server,
    two: Server,
    wires: Wires,
}

async fn pair() -> Pair {
    let (wires, clock) = (Wires::default(), MockClock::new(MockClock::START_MS));
    Pair {
        one: server("one.example", &wires, &clock, 1).await,
        two: server("two.example", &wires, &clock, 2).await,
        wires,
    }
}

/// The same, the second without accounts and with a configuration of its own.
async fn pair_with_bare(adjust: impl FnOnce(&mut Config)) -> Pair {
    let (wires, clock) = (Wires::default(), MockClock::new(MockClock::START_MS));
    Pair {
        one: server("one.example", &wires, &clock, 1).await,
        two: bare_server("two.example", &wires, (&clock, 2), adjust).await,
        wires,
    }
}

fn user(id: &str) -> OwnedUserId {
    id.try_into().unwrap()
}

fn alice() -> OwnedUserId {
    user("@alice:one.example")
}

fn bob() -> OwnedUserId {
    user("@bob:two.example")
}

fn new_room(preset: Preset, version: RoomVersionId) -> NewRoom {
    NewRoom {
        creator: alice(),
        profile: Profile::default(),
        version,
        preset,
        creation_content: BTreeMap::new(),
        power_levels: BTreeMap::new(),
        initial_state: Vec::new(),
        name: Some("Newsroom".to_owned()),
        topic: None,
        alias: None,
        invite: Vec::new(),
        invite_remote: Vec::new(),
        is_direct: false,
    }
}

impl Server {
    async fn create(&self, preset: Preset, version: RoomVersionId) -> OwnedRoomId {
        let new = new_room(preset, version);
        self.app.rooms.create(&new).await.unwrap()
    }

    async fn say(&self, room: &OwnedRoomId, who: OwnedUserId, body: &str) -> Value {
        let draft = Draft {
            room_id: room.clone(),
            sender: who,
            kind: "m.room.message".into(),
            state_key: None,
            content: to_raw_value(&json!({ "body": body, "msgtype": "m.text" })).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        let id = self.app.rooms.send(draft).await.unwrap();
        let event = self.app.store.event(&id).await.unwrap().unwrap();
        serde_json::from_slice(&projection::federation_event(&event, 0)).unwrap()
    }

    async fn bodies(&self, room: &OwnedRoomId) -> Vec<String> {
        let events = self
            .app
            .store
            .timeline(room, i64::MIN, Direction::Forward, 1000)
            .await
            .unwrap();
        let body = |event: &Arc<crate::store::Event>| {
            let content: Value = serde_json::from_str(event.pdu.content.get()).unwrap();
            content["body"].as_str().map(str::to_owned)
        };
        events.iter().filter_map(body).collect()
    }

    async fn membership(&self, room: &OwnedRoomId, who: &OwnedUserId) -> Membership {
        match self.app.rooms.snapshot(room).await.unwrap() {
            Some(snapshot) => snapshot.members.membership(who),
            None => {
                let rooms = self.app.rooms.memberships(who).await.unwrap();
                rooms
                    .get(room)
                    .map_or(Membership::Leave, |row| row.membership.clone())
            }
        }
    }

    async fn join(&self, room: &OwnedRoomId, who: &OwnedUserId) -> Result<(), JoinError> {
        let via = vec!["one.example".try_into().unwrap()];
        self.app.rooms.join(room, who, None, via).await
    }

    async fn receive(&self, room: &OwnedRoomId, pdu: &Value) -> bool {
        let pdu = to_raw_value(pdu).unwrap();
        let origin: OwnedServerName = "one.example".try_into().unwrap();
        self.app.rooms.receive(&origin, room, &pdu).await.is_ok()
    }
}

#[tokio::test]
async fn a_public_room_is_joined_in_every_version_and_both_hold_the_same_state() {
    for version in versions::supported() {
        let version = version.id.clone();
        let Pair { one, two, .. } = pair().await;
        let room = one.create(Preset::PublicChat, version).await;
        two.join(&room, &bob()).await.unwrap();
        for server in [&one, &two] {
            assert_eq!(server.membership(&room, &bob()).await, Membership::Join);
            assert_eq!(server.membership(&room, &alice()).await, Membership::Join);
        }
        let (left, right) = (
            one.app.rooms.snapshot(&room).await.unwrap().unwrap(),
            two.app.rooms.snapshot(&room).await.unwrap().unwrap(),
        );
        assert!(left.state == right.state);
        assert_eq!(left.extremities, right.extremities);
    }
}

#[tokio::test]
async fn a_private_room_is_refused_until_an_invite_comes() {
    let Pair { one, two, .. } = pair().await;
    let room = one.create(Preset::PrivateChat, RoomVersionId::V12).await;
    assert!(two.join(&room, &bob()).await.is_err());
    let content = Profile::default().member("invite", false);
    let change = MembershipChange {
        room_id: room.clone(),
        sender: alice(),
        user: bob(),
        content,
    };
    one.app.rooms.invite(change).await.unwrap();
    assert_eq!(one.membership(&room, &bob()).await, Membership::Invite);
    assert_eq!(two.membership(&room, &bob()).await, Membership::Invite);
    // The invite names the server to join through.
    two.app
        .rooms
        .join(&room, &bob(), None, Vec::new())
        .await
        .unwrap();
    assert_eq!(one.membership(&room, &bob()).await, Membership::Join);
}

#[tokio::test]
async fn an_invite_is_refused_here_and_there_even_if_the_server_is_gone() {
    for is_gone in [false, true] {
        let Pair { one, two, wires } = pair().await;
        let room = one.create(Preset::PrivateChat, RoomVersionId::V11).await;
        let content = Profile::default().member("invite", false);
        let change = MembershipChange {
            room_id: room.clone(),
            sender: alice(),
            user: bob(),
            content,
        };
        one.app.rooms.invite(change).await.unwrap();
        if is_gone {
            wires
                .0
                .lock()
                .unwrap()
                .remove(one.app.config.server_name.as_str());
        }
        two.app.rooms.leave(&room, &bob(), None).await.unwrap();
        assert_eq!(two.membership(&room, &bob()).await, Membership::Leave);
        let expected = if is_gone {
            Membership::Invite
        } else {
            Membership::Leave
        };
        assert_eq!(one.membership(&room, &bob()).await, expected);
    }
}

#[tokio::test]
async fn a_late_joiner_pages_across_the_seam_without_gap_or_duplicate() {
    let Pair { one, two, .. } = pair().await;
    let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
    let before: Vec<String> = (0..120).map(|n| format!("before {n}")).collect();
    for body in &before {
        one.say(&room, alice(), body).await;
    }
    two.join(&room, &bob()).await.unwrap();
    assert!(two.bodies(&room).await.is_empty());
    let after = one.say(&room, alice(), "after").await;
    assert!(two.receive(&room, &after).await);
    let mut rounds = 0;
    while two.app.rooms.backfill(&room, 50).await.unwrap() {
        rounds += 1;
        assert!(rounds < 10, "history has an end");
    }
    let mut expected = before;
    expected.push("after".to_owned());
    assert_eq!(two.bodies(&room).await, expected);
    let whole = two
        .app
        .store
        .timeline(&room, i64::MIN, Direction::Forward, 1000)
        .await
        .unwrap();
    let theirs = one
        .app
        .store
        .timeline(&room, i64::MIN, Direction::Forward, 1000)
        .await
        .unwrap();
    let ids = |events: &[Arc<crate::store::Event>]| {
        events
            .iter()
            .map(|event| event.id().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&whole), ids(&theirs));
    let mut back = two
        .app
        .store
        .timeline(&room, i64::MAX, Direction::Backward, 1000)
        .await
        .unwrap();
    back.reverse();
    assert_eq!(ids(&back), ids(&whole));
}

#[tokio::test]
async fn missing_predecessors_are_fetched_before_an_event_is_placed() {
    let Pair { one, two, .. } = pair().await;
    let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
    two.join(&room, &bob()).await.unwrap();
    for n in 0..20 {
        one.say(&room, alice(), &format!("{n}")).await;
    }
    let last = one.say(&room, alice(), "last").await;
    assert!(two.receive(&room, &last).await);
    let mut expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    expected.push("last".to_owned());
    assert_eq!(two.bodies(&room).await, expected);
    // A repeat changes nothing.
    assert!(two.receive(&room, &last).await);
    assert_eq!(two.bodies(&room).await.len(), 21);
}

#[tokio::test]
async fn both_sides_of_a_fork_come_to_the_same_state() {
    let Pair { one, two, .. } = pair().await;
    let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
    two.join(&room, &bob()).await.unwrap();
    // Neither knows of the other's message, so each makes a branch of its own.
    let left = one.say(&room, alice(), "left").await;
    let right = two.say(&room, bob(), "right").await;
    assert!(two.receive(&room, &left).await);
    let origin: OwnedServerName = "two.example".try_into().unwrap();
    let pdu = to_raw_value(&right).unwrap();
    one.app.rooms.receive(&origin, &room, &pdu).await.unwrap();
    let (a, b) = (
        one.app.rooms.snapshot(&room).await.unwrap().unwrap(),
        two.app.rooms.snapshot(&room).await.unwrap().unwrap(),
    );
    assert_eq!(a.extremities.len(), 2);
    assert!(a.state == b.state);
    // The next event joins the branches.
    let joined = one.say(&room, alice(), "joined").await;
    assert!(two.receive(&room, &joined).await);
    let b = two.app.rooms.snapshot(&room).await.unwrap().unwrap();
    assert_eq!(b.extremities.len(), 1);
}

#[tokio::test]
async fn a_forged_or_forbidden_event_is_not_taken() {
    let Pair { one, two, .. } = pair().await;
    let room = one.create(Preset::PublicChat, RoomVersionId::V12).await;
    two.join(&room, &bob()).await.unwrap();
    let event = one.say(&room, alice(), "true").await;
    // A changed sender breaks the signature.
    let mut forged = event.clone();
    forged["sender"] = json!("@mallory:one.example");
    assert!(!two.receive(&room, &forged).await);
    // Changed content breaks the hash: the redacted copy is what is kept.
    let mut altered = event.clone();
    altered["content"] = json!({ "body": "false", "msgtype": "m.text" });
    assert!(two.receive(&room, &altered).await);
    assert!(two.bodies(&room).await.is_empty());
    let id = event_id(&one, &room).await;
    let held = two.app.store.event(&id).await.unwrap().unwrap();
    assert_eq!(held.status, EventStatus::Accepted);
    assert!(!held.has_body());
}

async fn event_id(server: &Server, room: &OwnedRoomId) -> ruma::OwnedEventId {
    let newest = server
        .app
        .store
        .timeline(room, i64::MAX, Direction::Backward, 1)
        .await
        .unwrap();
    newest[0].id().to_owned()
}
