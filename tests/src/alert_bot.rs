//! The alert bot in a process of its own, as an operator runs it: `passeur-alert init`, a configuration, `passeur-alert run`.
//!
//! A process, not a task, so that it can be killed at any instruction. Its log is kept as a server's is.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Homeserver, net,
    user::{PASSWORD, WAIT_MAX},
};

/// How long the bot may take until it listens, and until it says something that is waited for.
const LINE_MAX: Duration = Duration::from_secs(90);

/// The line by which the bot says that it takes posts.
const LISTENING: &str = "listening for notifications";

/// The line by which it says that the room it is in is not encrypted.
const NOT_ENCRYPTED: &str = "the room is not encrypted";

/// The line by which it says that it would send what it is given.
const READY: &str = "the room is ready";

/// An alert bot with a store and a webhook of its own.
pub struct AlertBot {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    token: String,
    http: reqwest::Client,
}

struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl AlertBot {
    /// Makes a bot for a registered user and a room, and starts it. `root` is the certificate that the server's is signed by.
    pub fn start(server: &impl Homeserver, root: &Path, user_id: &str, room: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = net::free_port("127.0.0.1");
        let made = program()
            .args(["init", "--dir"])
            .arg(folder.path())
            .output()
            .expect("passeur-alert can be started");
        assert!(
            made.status.success(),
            "passeur-alert init: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        fs::write(folder.path().join("password"), PASSWORD).expect("the password's file");
        let config = folder.path().join("alert.toml");
        let mut text = fs::read_to_string(&config).expect("the configuration");
        for (from, to) in [
            ("https://matrix.example.org", server.client_url()),
            ("user = \"alerts\"", format!("user = \"{user_id}\"")),
            (
                "#extra_ca_files = [\"ca.pem\"]",
                format!("extra_ca_files = ['{}']", root.display()),
            ),
            ("!room:example.org", room.to_owned()),
            ("127.0.0.1:9095", format!("127.0.0.1:{port}")),
        ] {
            assert!(text.contains(from), "the template has no {from}");
            text = text.replace(from, &to);
        }
        fs::write(&config, text).expect("the configuration");
        let token = fs::read_to_string(folder.path().join("webhook.token"));
        let mut bot = Self {
            process: None,
            folder,
            port,
            token: token.expect("the webhook's token").trim().to_owned(),
            http: net::http_client(Vec::new()),
        };
        bot.restart();
        bot
    }

    /// Starts the bot again on what it stored; it must not be running. Returns when it listens.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the bot is running");
        let mut child = program()
            .arg("run")
            .arg("--config")
            .arg(self.folder.path().join("alert.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("passeur-alert can be started");
        let stderr = child.stderr.take().expect("its standard error");
        let (sender, lines) = mpsc::channel();
        let mut log = self.log_file();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                // Nobody listens any more once the bot was killed.
                let _ = sender.send(line);
            }
        });
        self.process = Some(Process { child, lines });
        self.wait_for_line(LISTENING);
    }

    /// Kills the bot without a warning (SIGKILL).
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a running bot");
        process.child.kill().expect("a signal");
        process.child.wait().expect("the process's end");
    }

    /// Waits until the bot says that the room is joined and encrypted.
    pub fn wait_until_ready(&self) {
        self.wait_for_line(READY);
    }

    /// Waits until the bot says that it has joined the room and that the room is not encrypted.
    pub fn wait_until_joined(&self) {
        self.wait_for_line(NOT_ENCRYPTED);
    }

    fn wait_for_line(&self, wanted: &str) {
        let lines = &self.process.as_ref().expect("a running bot").lines;
        loop {
            match lines.recv_timeout(LINE_MAX) {
                Ok(line) if line.contains(wanted) => return,
                Ok(_) => {}
                Err(error) => panic!("the alert bot never said `{wanted}`: {error}"),
            }
        }
    }

    /// Posts a body to one of the webhook's paths; the status of the answer.
    pub async fn post(&self, path: &str, body: &str) -> u16 {
        let request = self
            .http
            .post(format!("http://127.0.0.1:{}/{path}", self.port))
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(body.to_owned());
        let answer = request.timeout(WAIT_MAX).send().await;
        answer.expect("an answer of the bot").status().as_u16()
    }

    fn log_file(&self) -> File {
        let folder = env::var_os("PASSEUR_TEST_LOGS")
            .map_or_else(|| self.folder.path().to_owned(), PathBuf::from);
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(format!("passeur-alert-{}.log", self.port)))
            .expect("the bot's log")
    }
}

impl Drop for AlertBot {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// The program under test: cargo builds it with the stories and names it in their environment.
fn program() -> Command {
    let program = env::var_os("CARGO_BIN_EXE_passeur-alert-under-test");
    let mut command = Command::new(program.expect("cargo names the program under test"));
    // Only the configuration decides.
    for (name, _) in
        env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PASSEUR_"))
    {
        command.env_remove(name);
    }
    command
}
