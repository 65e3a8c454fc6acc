//! What a foreign client can be asked to do.

use serde_json::{Value, json};

use super::{ForeignClient, Read, text};
use crate::user;

impl ForeignClient {
    /// Joins a room that this user's server is in or that the user is invited to.
    pub async fn join(&mut self, room: &str) {
        self.call(json!({"do": "join", "room": room})).await;
    }

    /// Syncs until the room is known as encrypted and these users are in it. A library that sends nothing to devices about which it
    /// was told nothing is told to trust theirs.
    pub async fn meet(&mut self, room: &str, users: &[&str]) {
        self.call(json!({"do": "meet", "room": room, "users": users}))
            .await;
    }

    /// Sends a text, encrypted if the room is; the event's id.
    pub async fn send_text(&mut self, room: &str, body: &str) -> String {
        let content = json!({"msgtype": "m.text", "body": body});
        self.send(room, "m.room.message", content).await
    }

    /// Sends an event, encrypted if the room is; its id.
    pub async fn send(&mut self, room: &str, event_type: &str, content: Value) -> String {
        let answer = self
            .call(json!({"do": "send", "room": room, "type": event_type, "content": content}))
            .await;
        text(&answer, "event_id")
    }

    /// Syncs until an event is there that was encrypted and could be decrypted.
    pub async fn read(&mut self, room: &str, event_id: &str) -> Read {
        let answer = self
            .call(json!({"do": "read", "room": room, "event_id": event_id}))
            .await;
        assert_eq!(answer["decrypted"], true, "it came in the clear: {answer}");
        Read {
            sender: text(&answer, "sender"),
            event_type: text(&answer, "type"),
            content: answer["content"].clone(),
        }
    }

    /// Syncs until an event is there whose key was withheld; the code.
    pub async fn withheld(&mut self, room: &str, event_id: &str) -> String {
        let answer = self
            .call(json!({"do": "failure", "room": room, "event_id": event_id}))
            .await;
        text(&answer, "code")
    }

    /// Asks another device of this user for the key of an event that came without it.
    pub async fn request_key(&mut self, room: &str, event_id: &str, device: &str) {
        self.call(json!({
            "do": "request_key", "room": room, "event_id": event_id, "user": self.user_id, "device": device,
        }))
        .await;
    }

    /// Uploads a file, encrypted, and sends the message that refers to it; the event's id.
    pub async fn upload(&mut self, room: &str, name: &str, contents: &str) -> String {
        let answer = self
            .call(json!({"do": "upload", "room": room, "name": name, "text": contents}))
            .await;
        text(&answer, "event_id")
    }

    /// Fetches and decrypts the file of a message.
    pub async fn download(&mut self, room: &str, event_id: &str) -> String {
        let answer = self
            .call(json!({"do": "download", "room": room, "event_id": event_id}))
            .await;
        text(&answer, "text")
    }

    /// Makes cross-signing keys and signs the device with them.
    pub async fn make_identity(&mut self) {
        self.call(json!({"do": "identity", "user": self.user_id, "password": user::PASSWORD}))
            .await;
    }

    /// Makes a secret storage and, if the library can, a backup of all room keys; the recovery key.
    pub async fn keep(&mut self) -> String {
        text(&self.call(json!({"do": "keep"})).await, "recovery_key")
    }

    /// Opens the secret storage, and signs the device by what is in it.
    pub async fn open_storage(&mut self, recovery_key: &str) {
        self.call(json!({"do": "open", "recovery_key": recovery_key}))
            .await;
    }

    /// Restores the backup, whose key was in the secret storage; the number of room keys that came back.
    pub async fn restore(&mut self) -> u64 {
        let answer = self.call(json!({"do": "restore"})).await;
        answer["imported"].as_u64().expect("a number of keys")
    }

    /// Syncs until a device is known as signed by its owner. A library without cross-signing waits for the device, and believes it.
    pub async fn know_signed(&mut self, user: &str, device: &str) {
        self.know(user, device, "signed").await;
    }

    /// Syncs until a device is known as signed by an owner who was verified.
    pub async fn know_verified(&mut self, user: &str, device: &str) {
        self.know(user, device, "verified").await;
    }

    /// Syncs until a device is in the user's list.
    pub async fn know_device(&mut self, user: &str, device: &str) {
        self.know(user, device, "known").await;
    }

    /// Syncs until the private cross-signing keys are here.
    pub async fn hold_secrets(&mut self) {
        self.call(json!({"do": "secrets"})).await;
    }

    /// Syncs a few times, and does what the library does because of it.
    pub async fn idle(&mut self) {
        self.call(json!({"do": "idle"})).await;
    }

    async fn know(&mut self, user: &str, device: &str, trust: &str) {
        self.call(json!({"do": "know", "user": user, "device": device, "trust": trust}))
            .await;
    }

    /// Asks somebody in a room, or the other devices of this user, to verify each other.
    pub async fn ask(&mut self, user: &str, room: Option<&str>) {
        self.call(json!({"do": "ask", "user": user, "room": room}))
            .await;
    }

    /// Waits until somebody asks for a verification, and says yes.
    pub async fn accept(&mut self, user: &str) {
        self.call(json!({"do": "accept", "user": user})).await;
    }

    /// Begins to compare, once both are ready.
    pub async fn start(&mut self) {
        self.call(json!({"do": "start"})).await;
    }

    /// The seven emoji that this side sees.
    pub async fn compare(&mut self) -> Vec<String> {
        let answer = self.call(json!({"do": "compare"})).await;
        let emoji = answer["emoji"].as_array().expect("emoji");
        let symbol = |one: &Value| one.as_str().expect("a symbol").to_owned();
        emoji.iter().map(symbol).collect()
    }

    /// Says that both see the same, and waits for the other side and the end.
    pub async fn confirm(&mut self) {
        self.call(json!({"do": "confirm"})).await;
    }

    /// The code that this side shows, once both are ready.
    pub async fn show_code(&mut self) -> Vec<u8> {
        let answer = self.call(json!({"do": "show"})).await;
        serde_json::from_value(answer["code"].clone()).expect("bytes")
    }

    /// Waits until the code that is shown here was scanned, says so, and waits for the end.
    pub async fn confirm_scan(&mut self) {
        self.call(json!({"do": "scanned"})).await;
    }

    /// Scans the code that the other side shows.
    pub async fn scan(&mut self, code: &[u8]) {
        self.call(json!({"do": "scan", "code": code})).await;
    }

    /// Waits until the other side has said that its code was scanned.
    pub async fn finish_scan(&mut self) {
        self.call(json!({"do": "finish"})).await;
    }
}
