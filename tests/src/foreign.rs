//! Client libraries that no one here wrote, as users with end-to-end encryption.
//!
//! A driver in `tests/peers/` runs each and is asked by JSON lines; this is its other end. All drivers understand the same verbs, as
//! far as their library can do what is asked; what a library cannot do is left out of its rows in the table of stories.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
};

use crate::{Homeserver, user};

mod acts;
mod library;

pub use library::Library;

/// How long one request to the driver may take.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// An event as a library gives it to its program.
#[derive(Clone, Debug)]
pub struct Read {
    /// Who sent it.
    pub sender: String,
    /// Its type, the inner one if it was encrypted.
    pub event_type: String,
    /// Its content, the inner one if it was encrypted.
    pub content: Value,
}

/// A foreign client with a device and a key store of its own.
pub struct ForeignClient {
    /// Which library it is.
    pub kind: Library,
    /// The user's id.
    pub user_id: String,
    /// The device that it logged in with.
    pub device_id: String,
    /// The device's signing key.
    pub fingerprint: String,
    // Ends the process when dropped.
    _child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    store: TempDir,
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
        Self::login_as(library, server, user_id, root, false).await
    }

    /// The same; a `strict` one gives keys to devices that were verified, and to no others.
    pub async fn login_as(
        library: Library,
        server: &impl Homeserver,
        user_id: &str,
        root: Option<&Path>,
        strict: bool,
    ) -> Self {
        let mut child = library
            .command(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the driver can be started");
        let requests = child.stdin.take().expect("its standard input");
        let answers = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        let mut client = Self {
            kind: library,
            user_id: user_id.to_owned(),
            device_id: String::new(),
            fingerprint: String::new(),
            _child: child,
            requests,
            answers,
            store: tempfile::tempdir().expect("a temporary folder"),
        };
        let answer = client
            .call(json!({
                "do": "login", "homeserver": server.client_url(), "user": user_id, "password": user::PASSWORD,
                "store": client.store.path(), "root": root, "strict": strict,
            }))
            .await;
        client.device_id = text(&answer, "device_id");
        client.fingerprint = text(&answer, "fingerprint");
        client
    }

    /// One request to the driver.
    async fn call(&mut self, request: Value) -> Value {
        let exchange = async {
            self.requests
                .write_all(format!("{request}\n").as_bytes())
                .await?;
            self.answers.next_line().await
        };
        let library = self.kind;
        let line = tokio::time::timeout(ANSWER_MAX, exchange).await;
        let line =
            line.unwrap_or_else(|_| panic!("{library:?} did not answer in time to {request}"));
        let line = line
            .expect("a pipe to the driver")
            .unwrap_or_else(|| panic!("{library:?} has ended, asked {request}"));
        let answer: Value = serde_json::from_str(&line).expect("an answer in JSON");
        assert!(
            answer.get("error").is_none(),
            "{library:?}, asked {request}: {answer}"
        );
        answer
    }
}

fn text(answer: &Value, key: &str) -> String {
    let value = answer[key].as_str();
    value
        .unwrap_or_else(|| panic!("no `{key}` in {answer}"))
        .to_owned()
}
