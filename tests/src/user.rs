//! A user with the plainest of clients: bare requests of the client-server API, without encryption.
//!
//! It works against any homeserver, so a story can put the same user on Passeur and on a foreign peer.

mod acts;
mod files;

use std::{fmt::Debug, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{Homeserver, MARKER};

/// How long a story waits for something that must happen, on a machine busy with other tests.
pub const WAIT_MAX: Duration = Duration::from_secs(90);

/// How long one sync request may wait for news.
const SYNC_TIMEOUT_MS: u64 = 10_000;

/// The password of every test user.
pub const PASSWORD: &str = "quetzal feathers are green";

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error code (`errcode`), empty if the answer has none.
    pub code: String,
    /// The whole answer.
    pub body: String,
}

/// A registered user with one device.
#[derive(Debug)]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The user's access token.
    pub token: String,
    /// The user's device.
    pub device_id: String,
    http: reqwest::Client,
    base: String,
    since: Option<String>,
    seen: Vec<(String, Value)>,
    sent: u64,
}

impl User {
    /// Registers `name` (the marker is put before it) at a server with open registration.
    pub async fn register(server: &impl Homeserver, name: &str) -> Self {
        let body = json!({
            "username": format!("{MARKER}_{name}"), "password": PASSWORD,
            "auth": {"type": "m.login.dummy"},
        });
        let mut user = Self::nobody(server);
        let answer = user.post("/v3/register", body).await;
        user.be(&answer);
        user
    }

    /// Logs an existing user in with a new device.
    pub async fn login(server: &impl Homeserver, id: &str) -> Self {
        let body = json!({
            "type": "m.login.password", "password": PASSWORD,
            "identifier": {"type": "m.id.user", "user": id},
        });
        let mut user = Self::nobody(server);
        let answer = user.post("/v3/login", body).await;
        user.be(&answer);
        user
    }

    fn nobody(server: &impl Homeserver) -> Self {
        Self {
            id: String::new(),
            token: String::new(),
            device_id: String::new(),
            http: server.http(),
            base: server.client_url(),
            since: None,
            seen: Vec::new(),
            sent: 0,
        }
    }

    fn be(&mut self, answer: &Value) {
        self.id = text(answer, "user_id");
        self.token = text(answer, "access_token");
        self.device_id = text(answer, "device_id");
    }

    /// One request below `/_matrix/client`; its answer or refusal, or `None` if the connection broke before there was one.
    pub async fn attempt(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<Result<Value, Refusal>> {
        let mut request = self
            .http
            .request(method, format!("{}/_matrix/client{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.timeout(WAIT_MAX).send().await.ok()?;
        let status = answer.status();
        let body = answer.text().await.ok()?;
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        if status.is_success() {
            return Some(Ok(json));
        }
        let code = json["errcode"].as_str().unwrap_or_default().to_owned();
        Some(Err(Refusal {
            status: status.as_u16(),
            code,
            body,
        }))
    }

    /// One request below `/_matrix/client`; its answer or refusal. What may be repeated is tried a second time, since the
    /// connection that was kept from the last request may have ended with the server that a story has restarted.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, Refusal> {
        let may_repeat = method == Method::GET || method == Method::PUT;
        match self.attempt(method.clone(), path, body.as_ref()).await {
            Some(answer) => answer,
            None if may_repeat => self
                .attempt(method, path, body.as_ref())
                .await
                .expect("an answer"),
            None => panic!("{path}: no answer"),
        }
    }

    /// A GET that must succeed.
    pub async fn get(&self, path: &str) -> Value {
        succeeded(path, self.request(Method::GET, path, None).await)
    }

    /// A POST that must succeed.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        succeeded(path, self.request(Method::POST, path, Some(body)).await)
    }

    /// A PUT that must succeed.
    pub async fn put(&self, path: &str, body: Value) -> Value {
        succeeded(path, self.request(Method::PUT, path, Some(body)).await)
    }

    /// Creates a room from the body of `createRoom`; its id.
    pub async fn create_room(&self, body: Value) -> String {
        text(&self.post("/v3/createRoom", body).await, "room_id")
    }

    /// Invites someone.
    pub async fn invite(&self, room: &str, user: &str) {
        self.post(
            &format!("/v3/rooms/{}/invite", escape(room)),
            json!({"user_id": user}),
        )
        .await;
    }

    /// Joins a room, through the server `via` if this user's own is not in it.
    pub async fn join(&self, room: &str, via: &str) {
        self.post(&join_path(room, via), json!({})).await;
    }

    /// Sends a text; the event's id. The body should contain [`MARKER`].
    pub async fn send_text(&mut self, room: &str, body: &str) -> String {
        let content = json!({"msgtype": "m.text", "body": body});
        self.send(room, "m.room.message", content).await
    }

    /// Every event of the room's timeline that this user may see, newest first, as `/messages` pages through them.
    pub async fn history(&self, room: &str) -> Vec<Value> {
        let path = format!("/v3/rooms/{}/messages?dir=b&limit=100", escape(room));
        let mut events = Vec::new();
        let mut from = String::new();
        loop {
            let page = self.get(&format!("{path}{from}")).await;
            events.extend(
                page["chunk"]
                    .as_array()
                    .expect("a page of events")
                    .iter()
                    .cloned(),
            );
            let Some(end) = page["end"].as_str() else {
                return events;
            };
            from = format!("&from={}", escape(end));
        }
    }

    /// One sync from where the last one ended; its answer.
    pub async fn sync(&mut self) -> Value {
        self.sync_for(SYNC_TIMEOUT_MS).await
    }

    /// The same, waiting for news no longer than this.
    async fn sync_for(&mut self, timeout_ms: u64) -> Value {
        let path = match &self.since {
            None => "/v3/sync?timeout=0".to_owned(),
            Some(since) => format!("/v3/sync?timeout={timeout_ms}&since={}", escape(since)),
        };
        let answer = self.get(&path).await;
        self.since = Some(text(&answer, "next_batch"));
        for (room, joined) in answer["rooms"]["join"].as_object().into_iter().flatten() {
            for event in joined["timeline"]["events"]
                .as_array()
                .into_iter()
                .flatten()
            {
                self.seen.push((room.clone(), event.clone()));
            }
        }
        answer
    }

    /// Syncs until an event of the room's timeline satisfies `wanted`, looking at those seen before first.
    pub async fn wait_event(&mut self, room: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut looked = 0;
        let search = async {
            loop {
                let fresh = self.seen[looked..].iter();
                if let Some((_, event)) = fresh
                    .clone()
                    .find(|(at, event)| at == room && wanted(event))
                {
                    return event.clone();
                }
                looked = self.seen.len();
                self.sync().await;
            }
        };
        let ended = tokio::time::timeout(WAIT_MAX, search).await;
        if let Ok(found) = ended {
            return found;
        }
        let here = self.seen.iter().filter(|(at, _)| at == room);
        let here: Vec<String> = here.map(|(_, event)| event.to_string()).collect();
        panic!(
            "{} waited for an event in {room}, where were seen: {}",
            self.id,
            here.join("\n")
        )
    }

    /// Syncs until a text message with this body comes.
    pub async fn wait_text(&mut self, room: &str, body: &str) -> Value {
        self.wait_event(room, |event| {
            event["type"] == "m.room.message" && event["content"]["body"] == body
        })
        .await
    }

    /// Syncs until this user is invited to the room.
    pub async fn wait_invite(&mut self, room: &str) {
        self.until_sync("an invite", |sync| {
            sync["rooms"]["invite"].get(room).map(|_| ())
        })
        .await;
    }
}

/// Where one asks to join a room through a server.
fn join_path(room: &str, via: &str) -> String {
    let via = escape(via);
    format!("/v3/join/{}?via={via}&server_name={via}", escape(room))
}

/// A part of a URL's path or query with everything escaped that could mean something else.
pub fn escape(part: &str) -> String {
    let mut escaped = String::new();
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn succeeded(path: &str, answer: Result<Value, impl Debug>) -> Value {
    answer.unwrap_or_else(|refusal| panic!("{path}: {refusal:?}"))
}

fn text(answer: &Value, key: &str) -> String {
    let value = answer[key].as_str();
    value
        .unwrap_or_else(|| panic!("no `{key}` in {answer}"))
        .to_owned()
}
