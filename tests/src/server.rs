//! A Passeur homeserver in a process of its own, as an operator runs it: `passeur init`, a configuration, `passeur serve`.
//!
//! A process, not a task, so that it can be killed at any instruction, and so that its log is exactly what an operator
//! would find. All of it is kept, at the level `debug`, in the folder that `PASSEUR_TEST_LOGS` names.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Homeserver,
    ca::{Certificate, TestCa},
    net, postgres,
    wire::Ports,
};

/// How long the server may take until it serves.
const START_MAX: Duration = Duration::from_secs(60);

/// How long a line may take to appear in the log.
const LINE_MAX: Duration = Duration::from_secs(60);

/// How long the server may take to end after SIGTERM: the promised 10 s, and as much again on a busy machine.
const STOP_MAX: Duration = Duration::from_secs(20);

/// The line by which the server says that it accepts connections contains this.
const READY: &str = "serving";

/// Where a server stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file in the server's folder.
    Sqlite,
    /// A database of its own in the cluster of `PASSEUR_TEST_POSTGRES`.
    Postgres,
}

/// What kind of server is made.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it stores.
    pub database: Database,
    /// Whether it serves clients by plain HTTP too, on a second port of loopback, where no WebSocket is given.
    pub plain: bool,
    /// What its configuration ends in, beside what every test needs.
    pub more: String,
    /// The line by which others reach it, if not directly.
    pub wire: Option<Ports>,
    /// The folder of the socket through which PostgreSQL is reached, if it is not the cluster's own.
    pub socket: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            database: Database::Sqlite,
            plain: false,
            more: String::new(),
            wire: None,
            socket: None,
        }
    }
}

/// A server with open registration and without rate limits, on one TLS port of 127.0.0.1 for clients and servers.
pub struct TestServer {
    process: Option<Process>,
    folder: TempDir,
    server_name: String,
    port: u16,
    plain_url: Option<String>,
    http: reqwest::Client,
    written: Written,
}

/// A running `passeur serve`.
struct Process {
    child: Child,
    /// Disconnected once the process has closed its standard error, which it does by ending.
    lines: Receiver<()>,
}

/// Wakes whoever waits for a line of the log: how many there were.
type Written = Arc<(Mutex<u64>, Condvar)>;

impl TestServer {
    /// Makes a server that stores in SQLite and starts it.
    pub fn start(ca: &TestCa) -> Self {
        Self::start_as(ca, &Setup::default())
    }

    /// Makes a server that stores in `database` and starts it.
    pub fn start_on(ca: &TestCa, database: Database) -> Self {
        Self::start_as(
            ca,
            &Setup {
                database,
                ..Setup::default()
            },
        )
    }

    /// Makes a server of a kind and starts it.
    pub fn start_as(ca: &TestCa, setup: &Setup) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = setup.wire.unwrap_or_else(|| {
            let port = net::free_port("127.0.0.1");
            Ports {
                outside: port,
                inside: port,
            }
        });
        let server_name = format!("127.0.0.1:{}", ports.outside);
        let data = folder.path().join("data");
        let made = passeur()
            .args(["init", "--server-name", &server_name, "--data"])
            .arg(&data)
            .output();
        let made = made.expect("passeur can be started");
        assert!(
            made.status.success(),
            "passeur init: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let url = match setup.database {
            Database::Sqlite => "sqlite:passeur.db".to_owned(),
            Database::Postgres => match &setup.socket {
                Some(folder) => postgres::through(&postgres::new_database(), folder),
                None => postgres::new_database(),
            },
        };
        let plain_port = setup.plain.then(|| net::free_port("127.0.0.1"));
        let more = match plain_port {
            Some(port) => format!("{}{}", plain_listener(port), setup.more),
            None => setup.more.clone(),
        };
        let config = configuration(
            &server_name,
            ports.inside,
            &url,
            &ca.issue("127.0.0.1"),
            &ca.file(),
            &more,
        );
        fs::write(data.join("passeur.toml"), config).expect("the configuration");
        let mut server = Self {
            process: None,
            folder,
            server_name,
            port: ports.inside,
            plain_url: plain_port.map(|port| format!("http://127.0.0.1:{port}")),
            http: ca.http(),
            written: Written::default(),
        };
        server.restart();
        server
    }

    /// Starts the server again on what it stored; it must not be running.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the server is running");
        let mut child = passeur()
            .arg("serve")
            .arg("--config")
            .arg(self.data().join("passeur.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("passeur can be started");
        let stderr = child.stderr.take().expect("its standard error");
        let (ready, lines) = mpsc::channel();
        let mut log = self.log_file();
        let written = Arc::clone(&self.written);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                *written.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                written.1.notify_all();
                if line.contains(READY) {
                    let _ = ready.send(());
                }
            }
        });
        if lines.recv_timeout(START_MAX).is_err() {
            let _ = child.kill();
            let _ = child.wait();
            panic!("passeur did not start: {}", self.log());
        }
        self.process = Some(Process { child, lines });
    }

    /// Whether it was started and neither killed nor stopped since.
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Kills the server without a warning (SIGKILL).
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("a running server");
        process.child.kill().expect("a signal");
        process.child.wait().expect("the process's end");
    }

    /// Sends the server a signal, by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("a running server");
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &process.child.id().to_string()])
            .status()
            .expect("kill can be started");
        assert!(sent.success(), "no signal could be sent");
    }

    /// Asks the server to end (SIGTERM) and waits until it has; how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until the server, which was asked to, has ended by itself; how it ended.
    pub fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("a running server");
        while process.lines.recv_timeout(STOP_MAX).is_ok() {}
        if process.lines.recv_timeout(Duration::ZERO) != Err(RecvTimeoutError::Disconnected) {
            let _ = process.child.kill();
            panic!("passeur did not end in time: {}", self.log());
        }
        process.child.wait().expect("the process's end")
    }

    /// Makes the key that the server signs with from its next start on, as an operator does.
    pub fn rotate_key(&self) {
        let made = passeur()
            .args(["keys", "rotate", "--config"])
            .arg(self.data().join("passeur.toml"))
            .output()
            .expect("passeur can be started");
        assert!(
            made.status.success(),
            "passeur keys rotate: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    }

    /// Everything that the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Waits until the log contains a text.
    pub fn wait_log(&self, text: &str) {
        let (count, more) = &*self.written;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        // A line is counted after it is written, so none is missed between the look and the wait.
        let (_count, waited) = more
            .wait_timeout_while(count, LINE_MAX, |_| !self.log().contains(text))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "no line says {text:?}: {}", self.log());
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.data().join("passeur.toml")
    }

    /// The base URL of its plain listener, where there is one.
    pub fn plain_url(&self) -> Option<&str> {
        self.plain_url.as_deref()
    }

    /// The folder of the server's keys, media and SQLite database.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        let folder = env::var_os("PASSEUR_TEST_LOGS")
            .map_or_else(|| self.folder.path().to_owned(), PathBuf::from);
        // A file's name is not searched for ids, and a test can find its servers' files by their ports.
        folder.join(format!(
            "passeur-{}.log",
            self.server_name.replace(':', "-")
        ))
    }

    fn log_file(&self) -> File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the server's log")
    }
}

impl Homeserver for TestServer {
    fn server_name(&self) -> &str {
        &self.server_name
    }

    fn client_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn http(&self) -> reqwest::Client {
        self.http.clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// The program under test: cargo builds it with the stories and names it in their environment.
pub fn passeur() -> Command {
    let program = env::var_os("CARGO_BIN_EXE_passeur-under-test");
    let mut command = Command::new(program.expect("cargo names the program under test"));
    // Only the configuration decides.
    for (name, _) in
        env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PASSEUR_"))
    {
        command.env_remove(name);
    }
    command
}

fn plain_listener(port: u16) -> String {
    format!(
        r#"
[[listeners]]
address = "127.0.0.1"
port = {port}
resources = ["client", "media"]
"#
    )
}

/// The whole configuration file.
fn configuration(
    server_name: &str,
    port: u16,
    url: &str,
    certificate: &Certificate,
    root: &Path,
    more: &str,
) -> String {
    format!(
        r#"server_name = "{server_name}"
data_dir = "."

[[listeners]]
address = "127.0.0.1"
port = {port}
resources = ["client", "federation", "media"]
tls = {{ certificate = "{certificate}", key = "{key}" }}

[database]
url = "{url}"

[registration]
mode = "open"

[passwords]
memory_kib = 8
iterations = 1
parallelism = 1

[federation]
ca_files = ["{root}"]
private_ranges = ["127.0.0.0/8"]

[rate_limits]
enabled = false

[expiry]
key_store = "../data-keys"

[log]
level = "debug"
{more}"#,
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
        root = root.display(),
    )
}
