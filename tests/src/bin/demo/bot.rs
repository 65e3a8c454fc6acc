//! The alert bot's part of the demo: its configuration, its process, and the webhook that Prometheus would send.

use std::{fs, path::Path};

use passeur_tests::{
    Homeserver,
    ca::TestCa,
    free_port,
    server::{Program, TestServer},
    user::{PASSWORD, User, WAIT_MAX},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    ALERT_ROLE,
    steps::{Failure, until},
};

/// A running `passeur-alert`. Ends when dropped.
pub(crate) struct AlertBot {
    /// Its Matrix user.
    pub(crate) user_id: String,
    port: u16,
    token: String,
    _process: Child,
    _folder: TempDir,
}

impl AlertBot {
    /// Gives the bot an account at `server`, lets `invite` invite it, and starts it for `room`.
    pub(crate) async fn start(
        server: &TestServer,
        ca: &TestCa,
        room: &str,
        invite: impl AsyncFnOnce(&str) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let user_id = User::register_as(server, "alerts").await.id;
        invite(&user_id).await?;
        let folder = tempfile::tempdir()?;
        let made = Program::Own
            .command(ALERT_ROLE)
            .arg("init")
            .arg("--dir")
            .arg(folder.path())
            .output()?;
        if !made.status.success() {
            return Err(format!(
                "passeur-alert init: {}",
                String::from_utf8_lossy(&made.stderr)
            )
            .into());
        }
        let port = free_port("127.0.0.1");
        fs::write(folder.path().join("password"), PASSWORD)?;
        let config = folder.path().join("alert.toml");
        fs::write(
            &config,
            configuration(&server.client_url(), &user_id, &ca.file(), room, port),
        )?;
        let mut run = Program::Own.command(ALERT_ROLE);
        run.arg("run").arg("--config").arg(&config);
        let process = Command::from(run).kill_on_drop(true).spawn()?;
        let token = fs::read_to_string(folder.path().join("webhook.token"))?
            .trim()
            .to_owned();
        Ok(Self {
            user_id,
            port,
            token,
            _process: process,
            _folder: folder,
        })
    }

    /// Sends what Prometheus Alertmanager sends (version 4 of its webhook), once the bot listens.
    pub(crate) async fn post_alert(&self, http: &reqwest::Client) -> Result<(), Failure> {
        let url = format!("http://127.0.0.1:{}/alertmanager", self.port);
        let send = async || {
            let request = http
                .post(&url)
                .bearer_auth(&self.token)
                .header("content-type", "application/json");
            request
                .body(alertmanager_webhook().to_string())
                .send()
                .await
                .ok()
        };
        let answer = until(WAIT_MAX, send)
            .await
            .ok_or("the bot does not listen")?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(format!(
            "the bot refuses the webhook: {} {}",
            answer.status(),
            answer.text().await?
        )
        .into())
    }
}

fn configuration(url: &str, user_id: &str, root: &Path, room: &str, port: u16) -> String {
    format!(
        r#"[homeserver]
url = "{url}"
user = "{user_id}"
password_file = "password"
extra_ca_files = ["{root}"]

[store]
path = "passeur-alert.db"
passphrase_file = "store.passphrase"

[room]
id = "{room}"

[webhook]
listen = "127.0.0.1:{port}"
token_file = "webhook.token"

[expiry]
default = "7d"

[log]
level = "warn"
"#,
        root = root.display(),
    )
}

fn alertmanager_webhook() -> serde_json::Value {
    let labels = json!({"alertname": "DiskFull", "severity": "critical", "instance": "archive-1"});
    let annotations = json!({"summary": "The disk of archive-1 is full in 20 minutes"});
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"DiskFull\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "passeur",
        "groupLabels": {"alertname": "DiskFull"},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://alertmanager.invalid",
        "alerts": [{
            "status": "firing",
            "labels": labels,
            "annotations": annotations,
            "startsAt": "2026-01-01T12:00:00.000Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.invalid/graph",
            "fingerprint": "c0ffee00c0ffee00",
        }],
    })
}
