//! What a user does in rooms, and how a story waits until everybody knows it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Refusal, User, WAIT_MAX, escape, text};

/// How long one sync waits for news while something is looked at again and again.
const LOOK_MS: u64 = 500;

impl User {
    /// Sends an event; its id.
    pub async fn send(&mut self, room: &str, kind: &str, content: Value) -> String {
        self.sent += 1;
        let path = format!("/v3/rooms/{}/send/{kind}/t{}", escape(room), self.sent);
        text(&self.put(&path, content).await, "event_id")
    }

    /// Sets a piece of the room's state; the event's id.
    pub async fn set_state(&self, room: &str, kind: &str, key: &str, content: Value) -> String {
        let answer = self.put(&state_path(room, kind, key), content).await;
        text(&answer, "event_id")
    }

    /// Why a piece of the room's state may not be set.
    pub async fn refused_state(
        &self,
        room: &str,
        kind: &str,
        key: &str,
        content: Value,
    ) -> Refusal {
        let path = state_path(room, kind, key);
        refused(&path, self.request(Method::PUT, &path, Some(content)).await)
    }

    /// A piece of the room's state as this user's server has it.
    pub async fn state(&self, room: &str, kind: &str, key: &str) -> Result<Value, Refusal> {
        self.request(Method::GET, &state_path(room, kind, key), None)
            .await
    }

    /// The whole state of the room as this user's server has it: type, key and event, sorted.
    pub async fn whole_state(&self, room: &str) -> Vec<(String, String, String)> {
        let state = self.get(&format!("/v3/rooms/{}/state", escape(room))).await;
        let events = state.as_array().into_iter().flatten();
        let mut all: Vec<_> = events
            .map(|event| {
                (
                    text(event, "type"),
                    text(event, "state_key"),
                    text(event, "event_id"),
                )
            })
            .collect();
        all.sort();
        all
    }

    /// Removes the content of an event; the redaction's id.
    pub async fn redact(&mut self, room: &str, event: &str) -> String {
        self.sent += 1;
        let (room, event) = (escape(room), escape(event));
        let path = format!("/v3/rooms/{room}/redact/{event}/t{}", self.sent);
        text(&self.put(&path, json!({})).await, "event_id")
    }

    /// An event of the room as this user's server gives it.
    pub async fn event(&self, room: &str, event: &str) -> Result<Value, Refusal> {
        let path = format!("/v3/rooms/{}/event/{}", escape(room), escape(event));
        self.request(Method::GET, &path, None).await
    }

    /// `kick`, `ban`, `unban` or `invite`: does this to another user.
    pub async fn moderate(&self, room: &str, verb: &str, user: &str) {
        let path = format!("/v3/rooms/{}/{verb}", escape(room));
        self.post(&path, json!({"user_id": user, "reason": "quetzal"}))
            .await;
    }

    /// Leaves a room, or refuses the invite to it.
    pub async fn leave(&self, room: &str) {
        self.post(&format!("/v3/rooms/{}/leave", escape(room)), json!({}))
            .await;
    }

    /// Why this user may not join a room through `via`.
    pub async fn refused_join(&self, room: &str, via: &str) -> Refusal {
        let path = super::join_path(room, via);
        refused(
            &path,
            self.request(Method::POST, &path, Some(json!({}))).await,
        )
    }

    /// Looks until `look` finds what it looks for, syncing in between; what it found. `what` says what is waited for, and
    /// what `look` says is told if it does not come in time.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn until<T>(
        &mut self,
        what: &str,
        look: impl AsyncFn(&Self) -> Result<T, String>,
    ) -> T {
        let mut last = String::new();
        let search = async {
            loop {
                match look(self).await {
                    Ok(found) => return found,
                    Err(instead) => last = instead,
                }
                self.sync_for(LOOK_MS).await;
            }
        };
        let ended = tokio::time::timeout(WAIT_MAX, search).await;
        match ended {
            Ok(found) => found,
            Err(_) => panic!("{} waited for {what}: {last}", self.id),
        }
    }

    /// Syncs until `look` finds something in an answer; what it found.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn until_sync<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Value) -> Option<T>,
    ) -> T {
        let mut last = Value::Null;
        let search = async {
            loop {
                last = self.sync().await;
                if let Some(found) = look(&last) {
                    return found;
                }
            }
        };
        let ended = tokio::time::timeout(WAIT_MAX, search).await;
        match ended {
            Ok(found) => found,
            Err(_) => panic!("{} waited for {what}; the last sync: {last}", self.id),
        }
    }

    /// Waits until a user's membership of the room is this one.
    pub async fn until_member(&mut self, room: &str, user: &str, membership: &str) {
        self.until(&format!("{user} to be at {membership}"), async |me| {
            let member = me.state(room, "m.room.member", user).await;
            match member {
                Ok(member) if member["membership"] == membership => Ok(()),
                // Nobody has ever been told anything about this user.
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// Waits until a piece of the room's state is this content.
    pub async fn until_state(&mut self, room: &str, kind: &str, key: &str, content: &Value) {
        self.until(&format!("{kind} {content}"), async |me| {
            match me.state(room, kind, key).await {
                Ok(now) if now == *content => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
}

fn state_path(room: &str, kind: &str, key: &str) -> String {
    format!("/v3/rooms/{}/state/{kind}/{}", escape(room), escape(key))
}

fn refused(path: &str, answer: Result<Value, Refusal>) -> Refusal {
    match answer {
        Ok(answer) => panic!("{path} was to be refused: {answer}"),
        Err(refusal) => refusal,
    }
}
