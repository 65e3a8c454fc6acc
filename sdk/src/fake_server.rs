//! A homeserver for tests: it answers what a test has laid out and remembers what it was asked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    extract::{
        FromRequest, Path, Query, Request, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::{Client, store::Store};

mod extras;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a client sent into a room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Put {
    pub(crate) room: String,
    pub(crate) event_type: String,
    pub(crate) txn_id: String,
    pub(crate) content: Value,
    pub(crate) by_socket: bool,
}

/// What the server knows and remembers.
#[derive(Default)]
pub(crate) struct Shared {
    /// Sync responses to come; `next_batch` is added.
    pub(crate) syncs: VecDeque<Value>,
    /// `since` of each sync that was asked for.
    pub(crate) since: Vec<Option<String>>,
    /// What was sent and taken.
    pub(crate) puts: Vec<Put>,
    /// Every transaction ID that was tried, refused ones included.
    pub(crate) tried: Vec<String>,
    /// Answers to sends, in this order, before sends are taken.
    pub(crate) refusals: VecDeque<(u16, Value)>,
    /// Sends into this room are always answered 503.
    pub(crate) broken_room: Option<String>,
    /// Whether the WebSocket is offered.
    pub(crate) socket: bool,
    /// What the client acknowledged.
    pub(crate) acks: Vec<String>,
    /// The access token that is good.
    pub(crate) token: u32,
    /// Whether a refused token is refused for good.
    pub(crate) hard_logout: bool,
    /// The refresh tokens that were presented.
    pub(crate) refreshed: Vec<String>,
    /// What key queries answer: by user, then by device.
    pub(crate) device_keys: serde_json::Map<String, Value>,
    /// What key claims answer.
    pub(crate) one_time_keys: Value,
    /// What was sent to devices.
    pub(crate) to_device: Vec<Value>,
    /// A device to which nothing may be sent.
    pub(crate) bad_device: Option<String>,
    /// Whether key queries are answered 503.
    pub(crate) queries_fail: bool,
    /// How many key queries there were.
    pub(crate) queries: u32,
    /// Account data by type.
    pub(crate) account_data: serde_json::Map<String, Value>,
    /// Answers to what is no endpoint of this server, by path.
    pub(crate) answers: BTreeMap<String, (u16, Value)>,
    /// Every request as it came: path, query and body.
    pub(crate) traffic: Vec<String>,
    batches: u32,
}

/// A running fake.
pub(crate) struct FakeServer {
    pub(crate) url: String,
    shared: Arc<Mutex<Shared>>,
    news: Arc<Notify>,
    done: watch::Sender<u64>,
}

#[derive(Clone)]
struct Handle {
    shared: Arc<Mutex<Shared>>,
    news: Arc<Notify>,
    done: watch::Sender<u64>,
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
        let news = Arc::<Notify>::default();
        let done = watch::Sender::new(0);
        let handle = Handle {
            shared: shared.clone(),
            news: news.clone(),
            done: done.clone(),
        };
        let client = "/_matrix/client/v3";
        let data = format!("{client}/user/{{user}}/account_data/{{type}}");
        let router = Router::new()
            .route("/_matrix/client/versions", get(versions))
            .route(&format!("{client}/login"), post(login))
            .route(&format!("{client}/refresh"), post(refresh))
            .route(&format!("{client}/sync"), get(sync))
            .route("/_matrix/client/unstable/org.passeur.ws/sync", any(socket))
            .route(
                &format!("{client}/rooms/{{room}}/send/{{type}}/{{txn}}"),
                put(send),
            )
            .route(&format!("{client}/keys/{{verb}}"), post(keys))
            .route(
                &format!("{client}/sendToDevice/{{type}}/{{txn}}"),
                put(to_device),
            )
            .route(&data, any(extras::account_data))
            .fallback(extras::laid_out)
            .layer(middleware::from_fn_with_state(handle.clone(), extras::note))
            .with_state(handle);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url,
            shared,
            news,
            done,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    /// Lays out a sync response.
    pub(crate) fn push_sync(&self, response: Value) {
        self.lock().syncs.push_back(response);
        self.news.notify_waiters();
    }

    /// Gives a user one device, with keys of its own and one-time keys to claim.
    pub(crate) fn set_device(&self, user: &ruma::UserId, device: &ruma::DeviceId) {
        let staged = crate::crypto::OlmMachine::create(user, device, 1).unwrap();
        let (_, mut machine) = staged.into_parts();
        for request in machine.outgoing_requests(1).unwrap() {
            let crate::crypto::OutgoingBody::KeysUpload(upload) = request.body else {
                continue;
            };
            let keys = serde_json::to_value(upload.device_keys.unwrap()).unwrap();
            let one_time: Value = serde_json::to_value(upload.one_time_keys).unwrap();
            let (name, key) = one_time.as_object().unwrap().iter().next().unwrap();
            let mut shared = self.lock();
            shared
                .device_keys
                .insert(user.to_string(), json!({device.as_str(): keys}));
            shared.one_time_keys[user.as_str()] = json!({device.as_str(): {name: key}});
        }
    }

    /// Waits until what the server remembers satisfies `wanted`.
    pub(crate) async fn wait_for<T>(&self, mut wanted: impl FnMut(&Shared) -> Option<T>) -> T {
        let mut done = self.done.subscribe();
        let found = async {
            loop {
                if let Some(found) = wanted(&self.lock()) {
                    return found;
                }
                done.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, found)
            .await
            .expect("the server was not asked in time")
    }

    /// A client of this server with that store, not logged in.
    pub(crate) async fn client(&self, store: Arc<dyn Store>) -> Client {
        let pauses = (Duration::from_millis(1), Duration::from_millis(5));
        let builder = Client::builder().homeserver(&self.url).store_with(store);
        builder
            .retry_pauses(pauses.0, pauses.1)
            .build()
            .await
            .unwrap()
    }

    /// The same, logged in as `@alice:one`.
    pub(crate) async fn alice(&self, store: Arc<dyn Store>) -> Client {
        let client = self.client(store).await;
        client.login_password("alice", "secret").await.unwrap();
        client
    }
}

/// A sync response in which alice is in the room with nobody else.
pub(crate) fn joined(room: &RoomId, encrypted: bool) -> Value {
    let mut state = vec![json!({
        "type": "m.room.member", "state_key": "@alice:one", "sender": "@alice:one",
        "event_id": "$m", "origin_server_ts": 1, "content": {"membership": "join"}
    })];
    if encrypted {
        state.push(encryption());
    }
    json!({"rooms": {"join": {room.as_str(): {"state": {"events": state}}}}})
}

/// An `m.room.encryption` event.
pub(crate) fn encryption() -> Value {
    json!({
        "type": "m.room.encryption", "state_key": "", "sender": "@alice:one", "event_id": "$c",
        "origin_server_ts": 1, "content": {"algorithm": "m.megolm.v1.aes-sha2"}
    })
}

/// A sync response with one event in the room's timeline.
pub(crate) fn timeline(room: &RoomId, event: &Value) -> Value {
    json!({"rooms": {"join": {room.as_str(): {"timeline": {"events": [event]}}}}})
}

/// A room's ID.
pub(crate) fn room(name: &str) -> OwnedRoomId {
    RoomId::parse(format!("!{name}:one")).unwrap()
}

/// A JSON body, both ways.
struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        self.0.to_string().into_response()
    }
}

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = StatusCode;

    async fn from_request(request: Request, _: &S) -> Result<Self, StatusCode> {
        let body = axum::body::to_bytes(request.into_body(), 1_000_000).await;
        let body = body.map_err(|_| StatusCode::BAD_REQUEST)?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|_| StatusCode::BAD_REQUEST)
    }
}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    fn did_something(&self) {
        self.done.send_modify(|count| *count += 1);
    }

    fn refuse(&self, headers: &HeaderMap) -> Option<Response> {
        let shared = self.lock();
        let good = format!("Bearer t{}", shared.token);
        let given = headers
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if given == Some(&good) {
            return None;
        }
        let body = json!({
            "errcode": "M_UNKNOWN_TOKEN", "error": "", "soft_logout": !shared.hard_logout
        });
        Some((StatusCode::UNAUTHORIZED, Json(body)).into_response())
    }

    /// The next response, once there is one.
    async fn next_response(&self) -> Value {
        loop {
            let news = self.news.notified();
            if let Some(mut response) = self.pop() {
                let mut shared = self.lock();
                shared.batches += 1;
                response["next_batch"] = format!("b{}", shared.batches).into();
                return response;
            }
            news.await;
        }
    }

    fn pop(&self) -> Option<Value> {
        self.lock().syncs.pop_front()
    }

    fn take(&self, put: Put) -> (u16, Value) {
        let mut shared = self.lock();
        shared.tried.push(put.txn_id.clone());
        if shared.broken_room.as_ref() == Some(&put.room) {
            return (503, json!({"errcode": "M_UNKNOWN", "error": ""}));
        }
        if let Some(refusal) = shared.refusals.pop_front() {
            return refusal;
        }
        let event_id = format!("$e{}", shared.puts.len());
        shared.puts.push(put);
        (200, json!({"event_id": event_id}))
    }
}

async fn versions(State(handle): State<Handle>) -> Json {
    let offered = handle.lock().socket;
    Json(json!({
        "versions": ["v1.1", "v1.11"], "unstable_features": {"org.passeur.ws": offered, "fake": true}
    }))
}

async fn login(State(handle): State<Handle>) -> Json {
    let token = handle.lock().token;
    Json(json!({
        "user_id": "@alice:one", "device_id": "DEVICE", "access_token": format!("t{token}"),
        "refresh_token": format!("r{token}"), "expires_in_ms": 300_000
    }))
}

async fn refresh(State(handle): State<Handle>, Json(body): Json) -> Response {
    let mut shared = handle.lock();
    let presented = body["refresh_token"].as_str().unwrap().to_owned();
    shared.refreshed.push(presented);
    shared.token += 1;
    let token = shared.token;
    Json(json!({
        "access_token": format!("t{token}"), "refresh_token": format!("r{token}"), "expires_in_ms": 300_000
    }))
    .into_response()
}

async fn sync(
    State(handle): State<Handle>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = handle.refuse(&headers) {
        return refusal;
    }
    let since = query
        .into_iter()
        .find(|(name, _)| name == "since")
        .map(|(_, since)| since);
    handle.lock().since.push(since);
    handle.did_something();
    Json(handle.next_response().await).into_response()
}

async fn send(
    State(handle): State<Handle>,
    Path((room, event_type, txn_id)): Path<(String, String, String)>,
    headers: HeaderMap,
    Json(content): Json,
) -> Response {
    if let Some(refusal) = handle.refuse(&headers) {
        return refusal;
    }
    let (status, body) = handle.take(Put {
        room,
        event_type,
        txn_id,
        content,
        by_socket: false,
    });
    handle.did_something();
    (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
}

async fn keys(
    State(handle): State<Handle>,
    Path(verb): Path<String>,
    Json(body): Json,
) -> Response {
    let mut shared = handle.lock();
    if verb == "query" {
        shared.queries += 1;
        handle.did_something();
        if shared.queries_fail {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    let answer = Json(match verb.as_str() {
        "upload" => json!({"one_time_key_counts": {"signed_curve25519": 50}}),
        "query" => {
            let asked = body["device_keys"].as_object().unwrap().keys();
            let devices =
                |user: &String| shared.device_keys.get(user).cloned().unwrap_or(json!({}));
            let known: serde_json::Map<_, _> =
                asked.map(|user| (user.clone(), devices(user))).collect();
            json!({"device_keys": known, "failures": {}})
        }
        _ => json!({"one_time_keys": shared.one_time_keys, "failures": {}}),
    });
    answer.into_response()
}

async fn to_device(State(handle): State<Handle>, Json(body): Json) -> Response {
    let mut shared = handle.lock();
    let bad = shared.bad_device.as_ref();
    if bad.is_some_and(|device| body["messages"].to_string().contains(device)) {
        let refusal = Json(json!({"errcode": "M_INVALID_PARAM", "error": ""}));
        return (StatusCode::BAD_REQUEST, refusal).into_response();
    }
    shared.to_device.push(body);
    Json(json!({})).into_response()
}

async fn socket(
    State(handle): State<Handle>,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if let Some(refusal) = handle.refuse(&headers) {
        return refusal;
    }
    let since = query
        .into_iter()
        .find(|(name, _)| name == "since")
        .map(|(_, since)| since);
    handle.lock().since.push(since);
    upgrade.on_upgrade(move |socket| talk(handle, socket))
}

async fn talk(handle: Handle, mut socket: WebSocket) {
    loop {
        tokio::select! {
            response = handle.next_response() => {
                let text = response.to_string();
                if socket.send(Message::Text(text.into())).await.is_err() {
                    return;
                }
            }
            frame = socket.recv() => {
                let Some(Ok(Message::Text(text))) = frame else { return };
                let frame: Value = serde_json::from_str(&text).unwrap();
                if let Some(answer) = hear(&handle, &frame)
                    && socket.send(Message::Text(answer.to_string().into())).await.is_err()
                {
                    return;
                }
                handle.did_something();
            }
        }
    }
}

fn hear(handle: &Handle, frame: &Value) -> Option<Value> {
    if let Some(ack) = frame["ack"].as_str() {
        handle.lock().acks.push(ack.to_owned());
        return None;
    }
    let send = frame.get("send")?;
    let text = |field: &str| send[field].as_str().unwrap().to_owned();
    let (room, event_type, txn_id) = (text("room_id"), text("type"), text("txn_id"));
    let content = send["content"].clone();
    let put = Put {
        room,
        event_type,
        txn_id: txn_id.clone(),
        content,
        by_socket: true,
    };
    Some(match handle.take(put) {
        (200, body) => json!({"sent": {"txn_id": txn_id, "event_id": body["event_id"]}}),
        (_, body) => json!({"failed": {"txn_id": txn_id, "errcode": body["errcode"], "error": ""}}),
    })
}
