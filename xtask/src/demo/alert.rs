//! The alert bot, and a Prometheus Alertmanager's part in front of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ruma::RoomId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{
    PATIENCE, PAUSE,
    certificates::{Authority, write_private},
    child::Children,
    org::{LOOPBACK, Org, configure, free_port},
    person::Account,
    programs::Programs,
};
use crate::process;

/// What Alertmanager posts, in version 4 of its webhook's format.
const NOTIFICATION: &str = include_str!("alertmanager.json");

/// What the first line of what the bot makes of it begins with.
pub(crate) const HEADLINE: &str = "[FIRING] DiskWillFillSoon";

/// What stands in it that no server may ever see.
pub(crate) const DETAIL: &str = "/srv has 3 % left and will be full within four hours";

/// The port from which one for the webhook is searched.
const PORT: u16 = 9095;

/// The running bot.
pub(crate) struct AlertBot {
    folder: PathBuf,
    port: u16,
    token: String,
}

impl AlertBot {
    /// Makes the bot's folder by its own `init`, fills in the configuration, and starts it.
    pub(crate) fn start(
        work: &Path,
        programs: &Programs,
        (org, authority): (&Org, &Authority),
        account: &Account,
        room: &RoomId,
        children: &mut Children,
    ) -> Result<Self, String> {
        let folder = work.join("alert-bot");
        process::capture(programs.alert_bot().arg("init").arg("--dir").arg(&folder))?;
        write_private(&folder.join("password"), &account.password)?;
        let port = free_port(PORT)?;
        let config = folder.join("alert.toml");
        configure(
            &config,
            &[
                ("https://matrix.example.org", &org.url()),
                (
                    "user = \"alerts\"",
                    &format!("user = \"{}\"", account.user_id),
                ),
                (
                    "#extra_ca_files = [\"ca.pem\"]",
                    &format!("extra_ca_files = ['{}']", authority.file().display()),
                ),
                ("!room:example.org", room.as_str()),
                ("127.0.0.1:9095", &format!("{LOOPBACK}:{port}")),
            ],
        )?;
        let mut command = programs.alert_bot();
        command.arg("run").arg("--config").arg(&config);
        children.start("passeur-alert", command, &folder.join("alert.log"))?;
        let token = fs::read_to_string(folder.join("webhook.token"))
            .map_err(|error| format!("the webhook's token: {error}"))?;
        Ok(Self {
            folder,
            port,
            token: token.trim().to_owned(),
        })
    }

    /// Waits until the bot says that it takes alerts.
    pub(crate) async fn wait_until_ready(&self, children: &mut Children) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask("GET", "/health", "").await {
                Ok(200) => return Ok(()),
                answer if Instant::now() > deadline => {
                    return Err(format!("the alert bot is not ready: {answer:?}"));
                }
                _ => children.check()?,
            }
            sleep(PAUSE).await;
        }
    }

    /// Posts the notification as Alertmanager does.
    pub(crate) async fn post(&self) -> Result<(), String> {
        match self.ask("POST", "/alertmanager", NOTIFICATION).await? {
            200 => Ok(()),
            status => Err(format!(
                "the alert bot answers a notification with {status}"
            )),
        }
    }

    /// A shell command that posts the notification again.
    pub(crate) fn command(&self, here: &Path) -> String {
        let token = self.folder.join("webhook.token");
        let token = token.strip_prefix(here).unwrap_or(&token);
        format!(
            "curl -H \"Authorization: Bearer $(cat {})\" --data @xtask/src/demo/alertmanager.json http://{LOOPBACK}:{}/alertmanager",
            token.display(),
            self.port
        )
    }

    /// One request with the bot's token; the status of the answer.
    async fn ask(&self, method: &str, path: &str, body: &str) -> Result<u16, String> {
        let exchange = async {
            let mut stream = TcpStream::connect((LOOPBACK, self.port)).await?;
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {LOOPBACK}:{}\r\nUser-Agent: Alertmanager/0.28.1\r\n\
                 Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                self.port,
                self.token,
                body.len()
            );
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = timeout(PATIENCE, exchange)
            .await
            .map_err(|_| "the alert bot does not answer".to_owned())?
            .map_err(|error| format!("the alert bot cannot be asked: {error}"))?;
        String::from_utf8_lossy(&answer)
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(|| "the alert bot answers something that is not HTTP".to_owned())
    }
}
