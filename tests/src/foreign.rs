//! Client libraries that no one here wrote, as users with end-to-end encryption.
//!
//! A script in `tests/peers/` runs each and is driven by JSON lines; this is its other end.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{Homeserver, synapse::peers_python, user};

/// How long one request to the script may take.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// Which library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// matrix-nio, on vodozemac.
    Nio,
    /// mautrix, on libolm.
    Mautrix,
}

impl Library {
    const fn script(self) -> &'static str {
        match self {
            Self::Nio => "peers/nio_client.py",
            Self::Mautrix => "peers/mautrix_client.py",
        }
    }
}

/// A foreign client with a device and a key store of its own.
pub struct ForeignClient {
    /// The user's id.
    pub user_id: String,
    /// The device that it logged in with.
    pub device_id: String,
    // Ends the process when dropped.
    _child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _store: TempDir,
}

impl ForeignClient {
    /// Logs a registered user in with a new device, and uploads its keys. `root` is the certificate that the server's
    /// is signed by, where it is served by TLS.
    pub async fn login(
        library: Library,
        server: &impl Homeserver,
        user_id: &str,
        root: Option<&Path>,
    ) -> Self {
        let store = tempfile::tempdir().expect("a temporary folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(library.script());
        let mut child = Command::new(peers_python())
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python can be started");
        let requests = child.stdin.take().expect("its standard input");
        let answers = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        let (device_id, user_id) = (String::new(), user_id.to_owned());
        let mut client = Self {
            user_id,
            device_id,
            _child: child,
            requests,
            answers,
            _store: store,
        };
        let answer = client
            .call(json!({
                "do": "login", "homeserver": server.client_url(), "user": client.user_id, "password": user::PASSWORD,
                "store": client._store.path(), "root": root,
            }))
            .await;
        client.device_id = answer["device_id"].as_str().expect("a device").to_owned();
        client
    }

    /// Joins a room that this user's server is in or that the user is invited to.
    pub async fn join(&mut self, room: &str) {
        self.call(json!({"do": "join", "room": room})).await;
    }

    /// Syncs until the room is known as encrypted and these users are in it with their devices, then trusts all of
    /// those.
    pub async fn trust(&mut self, room: &str, users: &[&str]) {
        self.call(json!({"do": "trust", "room": room, "users": users}))
            .await;
    }

    /// Sends a text, encrypted if the room is; the event's id.
    pub async fn send_text(&mut self, room: &str, body: &str) -> String {
        let answer = self
            .call(json!({"do": "send", "room": room, "body": body}))
            .await;
        answer["event_id"].as_str().expect("an event id").to_owned()
    }

    /// Syncs until a text with this body comes that was encrypted and could be decrypted; its sender.
    pub async fn wait_decrypted(&mut self, room: &str, body: &str) -> String {
        let answer = self
            .call(json!({"do": "wait", "room": room, "body": body}))
            .await;
        assert_eq!(answer["decrypted"], true, "the message came in the clear");
        answer["sender"].as_str().expect("a sender").to_owned()
    }

    /// One request to the script.
    async fn call(&mut self, request: Value) -> Value {
        let exchange = async {
            self.requests
                .write_all(format!("{request}\n").as_bytes())
                .await?;
            self.answers.next_line().await
        };
        let line = tokio::time::timeout(ANSWER_MAX, exchange).await;
        let line = line
            .unwrap_or_else(|_| panic!("the foreign client did not answer in time to {request}"));
        let line = line
            .expect("a pipe to the foreign client")
            .expect("the foreign client has ended");
        let answer: Value = serde_json::from_str(&line).expect("an answer in JSON");
        assert!(
            answer.get("error").is_none(),
            "the foreign client, asked {request}: {answer}"
        );
        answer
    }
}
