//! Servers that sign and answer whatever they like, against a whole server of ours.

use axum::{extract::State, response::IntoResponse};
use http::{StatusCode, Uri};
use passeur_protocol::{
    build::{EventTemplate, Tip, auth_types, build, depth_after},
    signed::SignedPdu,
    versions,
};
use ruma::{
    CanonicalJsonObject, OwnedEventId, UInt,
    events::StateEventType,
    signatures::{Ed25519KeyPair, sign_event},
};

use super::*;
use crate::{
    outbound::{OwnKeys, signed_document},
    rooms::{ReceiveError, Snapshot},
    store::Event,
};

mod equivocation;
mod fallback;
mod fetching;
mod graph;
mod history;
mod invites;
mod late;
mod mismatch;
mod policy;
mod redactions;
mod state;
mod support;
mod templates;
mod transactions;
mod weather;

/// A server without rooms of its own: what it says is made by hand.
#[derive(Clone)]
struct Hostile {
    keys: OwnKeys,
    /// With which it recommends events, as a policy server.
    policy_key: Arc<Ed25519KeyPair>,
    /// Answers by a part of the request's path; the rest is not found.
    answers: Arc<Mutex<BTreeMap<String, String>>>,
    /// What it was asked: path and body.
    heard: Arc<Mutex<Vec<(String, Value)>>>,
}

/// An event before it is signed.
#[derive(Clone)]
struct Made {
    room: OwnedRoomId,
    sender: OwnedUserId,
    kind: String,
    state_key: Option<String>,
    content: Value,
    redacts: Option<OwnedEventId>,
    prev: Vec<OwnedEventId>,
    auth: Vec<OwnedEventId>,
    depth: u64,
    ts: i64,
}

async fn answer(State(peer): State<Hostile>, uri: Uri, body: Bytes) -> axum::response::Response {
    let path = uri
        .path()
        .replace("%24", "$")
        .replace("%21", "!")
        .replace("%3A", ":");
    if path.starts_with("/_matrix/key/") {
        let document = signed_document(&peer.keys).unwrap();
        return document.json().get().to_owned().into_response();
    }
    if path == "/_matrix/policy/v1/sign" {
        return peer.judge(&body);
    }
    let asked = serde_json::from_slice(&body).unwrap_or_default();
    peer.heard.lock().unwrap().push((path.clone(), asked));
    let answers = peer.answers.lock().unwrap();
    match answers.iter().find(|(part, _)| path.contains(*part)) {
        Some((_, answer)) => answer.clone().into_response(),
        None => (StatusCode::NOT_FOUND, "{}").into_response(),
    }
}

impl Hostile {
    fn start(name: &str, wires: &Wires) -> Self {
        let name: OwnedServerName = name.try_into().unwrap();
        let clock = Arc::new(MockClock::new(MockClock::START_MS));
        let peer = Self {
            keys: OwnKeys::new(name.clone(), key_pair("peer"), clock),
            policy_key: key_pair("policy_server"),
            answers: Arc::default(),
            heard: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(peer.clone());
        wires.0.lock().unwrap().insert(name, router);
        peer
    }

    /// What a policy server says of an event: nothing good of spam.
    fn judge(&self, event: &[u8]) -> axum::response::Response {
        let mut event: CanonicalJsonObject = serde_json::from_slice(event).unwrap();
        let body = event["content"].as_object().unwrap().get("body");
        if body.and_then(|body| body.as_str()) == Some("flood") {
            let refusal = json!({
                "errcode": "M_LIMIT_EXCEEDED", "error": "slower", "retry_after_ms": 2_000,
            });
            return (StatusCode::TOO_MANY_REQUESTS, refusal.to_string()).into_response();
        }
        if event["content"].as_object().unwrap().values().any(|value| {
            let text = value.as_str();
            text.is_some_and(|text| text.contains("spam"))
        }) {
            let refusal = json!({ "errcode": "M_FORBIDDEN", "error": "spam" });
            return (StatusCode::BAD_REQUEST, refusal.to_string()).into_response();
        }
        let name = self.keys.server_name().as_str();
        event.remove("signatures");
        let rules = versions::rules(&RoomVersionId::V11).unwrap();
        sign_event(name, &*self.policy_key, &mut event, &rules.redaction).unwrap();
        serde_json::to_string(&event["signatures"])
            .unwrap()
            .into_response()
    }

    /// Answers requests whose path has a part.
    fn serve(&self, part: &str, answer: Value) {
        self.serve_text(part, &answer.to_string());
    }

    /// As [`Hostile::serve`], with whatever text.
    fn serve_text(&self, part: &str, answer: &str) {
        let mut answers = self.answers.lock().unwrap();
        answers.insert(part.to_owned(), answer.to_owned());
    }

    /// The bodies of the requests so far whose path has a part.
    fn heard(&self, part: &str) -> Vec<Value> {
        let heard = self.heard.lock().unwrap();
        let of_part = heard.iter().filter(|(path, _)| path.contains(part));
        of_part.map(|(_, body)| body.clone()).collect()
    }

    fn sign(&self, here: &Snapshot, made: &Made) -> SignedPdu {
        let template = EventTemplate {
            room_id: Some(made.room.clone()),
            sender: made.sender.clone(),
            kind: made.kind.as_str().into(),
            state_key: made.state_key.clone(),
            content: to_raw_value(&made.content).unwrap(),
            redacts: made.redacts.clone(),
            origin_server_ts: ruma::MilliSecondsSinceUnixEpoch(
                UInt::try_from(u64::try_from(made.ts).unwrap()).unwrap(),
            ),
        };
        let tip = Tip {
            prev_events: made.prev.clone(),
            auth_events: made.auth.clone(),
            depth: made.depth,
        };
        let name = self.keys.server_name();
        build(template, tip, here.rules, name, self.keys.key_pair()).unwrap()
    }

    /// Sends an event to a server of ours.
    async fn give(
        &self,
        here: &Server,
        room: &OwnedRoomId,
        event: &SignedPdu,
    ) -> Result<OwnedEventId, ReceiveError> {
        let pdu = to_raw_value(&wire(event)).unwrap();
        let rooms = &here.app.rooms;
        rooms.receive(self.keys.server_name(), room, &pdu).await
    }

    /// Makes an event on what is newest here, as an honest server would, and sends it.
    async fn send(&self, here: &Server, made: &Made) -> Result<OwnedEventId, ReceiveError> {
        let event = self.sign(&*here.now(&made.room).await, made);
        self.give(here, &made.room, &event).await
    }

    /// Has a user of this server join.
    async fn join(&self, here: &Server, room: &OwnedRoomId, who: &OwnedUserId) {
        let content = json!({ "membership": "join" });
        let made = here
            .made(
                room,
                who.clone(),
                "m.room.member",
                Some(who.as_str()),
                content,
            )
            .await;
        let event = self.sign(&*here.now(room).await, &made);
        let pdu = to_raw_value(&wire(&event)).unwrap();
        let rooms = &here.app.rooms;
        let (name, id) = (self.keys.server_name(), &event.pdu().event_id);
        let hosted = rooms.host(name, room, id, &pdu, Membership::Join).await;
        hosted.unwrap();
    }
}

/// An event as it goes over the wire.
fn wire(event: &SignedPdu) -> Value {
    serde_json::from_slice(event.json()).unwrap()
}

impl Server {
    /// The room as it is now.
    async fn now(&self, room: &OwnedRoomId) -> Arc<Snapshot> {
        self.app.rooms.snapshot(room).await.unwrap().unwrap()
    }

    async fn held(&self, id: &OwnedEventId) -> Option<Arc<Event>> {
        self.app.store.event(id).await.unwrap()
    }

    /// An event on what is newest in a room, authorised by its state.
    async fn made(
        &self,
        room: &OwnedRoomId,
        sender: OwnedUserId,
        kind: &str,
        state_key: Option<&str>,
        content: Value,
    ) -> Made {
        let now = self.now(room).await;
        let raw = to_raw_value(&content).unwrap();
        let places = auth_types(&kind.into(), &sender, state_key, &raw, now.rules).unwrap();
        Made {
            room: room.clone(),
            sender,
            kind: kind.to_owned(),
            state_key: state_key.map(str::to_owned),
            content,
            redacts: None,
            prev: now.extremities.clone(),
            auth: places
                .iter()
                .filter_map(|place| now.state.get(place).cloned())
                .collect(),
            depth: depth_after(u64::try_from(now.depth).ok()),
            ts: MockClock::START_MS,
        }
    }

    /// The content of a state event of now.
    async fn state(&self, room: &OwnedRoomId, kind: &str, key: &str) -> Option<Value> {
        let now = self.now(room).await;
        let id = now.state_id(&StateEventType::from(kind), key)?.to_owned();
        let event = self.held(&id).await?;
        Some(serde_json::from_str(event.pdu.content.get()).unwrap())
    }
}

fn mallory() -> OwnedUserId {
    user("@mallory:evil.example")
}

fn dora() -> OwnedUserId {
    user("@dora:good.example")
}

fn text(body: &str) -> Value {
    json!({ "body": body, "msgtype": "m.text" })
}

/// A server of ours with a room of Alice's, in which are Mallory of evil.example and Dora of good.example, who has the
/// power to ban.
struct Siege {
    here: Server,
    evil: Hostile,
    good: Hostile,
    room: OwnedRoomId,
    wires: Wires,
    clock: MockClock,
}

impl Siege {
    async fn start() -> Self {
        Self::of(RoomVersionId::V11).await
    }

    async fn of(version: RoomVersionId) -> Self {
        let (wires, clock) = (Wires::default(), MockClock::new(MockClock::START_MS));
        let here = server("one.example", &wires, &clock, 1).await;
        let evil = Hostile::start("evil.example", &wires);
        let good = Hostile::start("good.example", &wires);
        let room = here.create(Preset::PublicChat, version).await;
        let mut levels = here.state(&room, "m.room.power_levels", "").await.unwrap();
        levels["users"][dora().as_str()] = json!(90);
        here.put(&room, "m.room.power_levels", "", levels).await;
        evil.join(&here, &room, &mallory()).await;
        good.join(&here, &room, &dora()).await;
        Self {
            here,
            evil,
            good,
            room,
            wires,
            clock,
        }
    }

    async fn mallory_says(&self, body: &str) -> Made {
        let made = self
            .here
            .made(&self.room, mallory(), "m.room.message", None, text(body));
        made.await
    }

    /// Dora's ban of Mallory, on what is newest.
    async fn ban(&self) -> Made {
        let content = json!({ "membership": "ban" });
        let target = mallory();
        let target = Some(target.as_str());
        let made = self
            .here
            .made(&self.room, dora(), "m.room.member", target, content);
        made.await
    }
}

impl Server {
    /// Alice sets a piece of state.
    async fn put(&self, room: &OwnedRoomId, kind: &str, key: &str, content: Value) -> OwnedEventId {
        let draft = Draft {
            room_id: room.clone(),
            sender: alice(),
            kind: kind.into(),
            state_key: Some(key.to_owned()),
            content: to_raw_value(&content).unwrap(),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        self.app.rooms.send(draft).await.unwrap()
    }
}
