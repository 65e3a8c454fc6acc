//! Synapse, the reference homeserver, as a federation peer.

use std::{
    env,
    fs::{self, OpenOptions},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use tempfile::TempDir;

use crate::{Homeserver, ca::TestCa, net, wire::Ports};

/// How long Synapse may take until it serves, in seconds, on a machine busy with other tests.
const START_SECONDS_MAX: u32 = 180;

/// A running Synapse with an empty SQLite database, open registration, no rate limits and no key notary.
pub struct Synapse {
    child: Option<Child>,
    folder: TempDir,
    server_name: String,
    client_port: u16,
}

impl Synapse {
    /// Starts a server whose federation listener is at a free port of `address` (a loopback address, for instance
    /// `127.0.0.2`), with a certificate of `ca`, and waits until it serves.
    pub fn start(ca: &TestCa, address: &str) -> Self {
        let port = net::free_port(address);
        let ports = Ports {
            outside: port,
            inside: port,
        };
        Self::start_behind(ca, address, ports)
    }

    /// The same for a server that others reach by a line on `address`.
    pub fn start_behind(ca: &TestCa, address: &str, ports: Ports) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let client_port = net::free_port("127.0.0.1");
        let config = configuration(ca, folder.path(), address, ports, client_port);
        fs::write(folder.path().join("homeserver.yaml"), config).expect("Synapse's configuration");
        fs::write(folder.path().join("signing.key"), signing_key("a_test")).expect("Synapse's key");
        let mut server = Self {
            child: None,
            folder,
            server_name: format!("{address}:{}", ports.outside),
            client_port,
        };
        server.restart();
        server
    }

    /// Starts the server again on what it stored; it must not be running. Returns when it serves.
    pub fn restart(&mut self) {
        assert!(self.child.is_none(), "Synapse is running");
        self.child = Some(spawn(self.folder.path()));
    }

    /// Whether it was started and not stopped since.
    pub const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Asks the server to end (SIGTERM) and waits until it has.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("a running Synapse");
        let sent = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|sent| sent.success()), "no signal was sent");
        child.wait().expect("the process's end");
    }

    /// Makes a key that the server signs with from its next start on; the old one is still published.
    pub fn rotate_key(&self, version: &str) {
        let path = self.folder.path().join("signing.key");
        let old = fs::read_to_string(&path).expect("Synapse's key");
        fs::write(&path, signing_key(version) + &old).expect("Synapse's keys");
    }

    /// What Synapse has logged so far, for the message of a failing test.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Homeserver for Synapse {
    fn server_name(&self) -> &str {
        &self.server_name
    }

    fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    fn http(&self) -> reqwest::Client {
        net::http_client(Vec::new())
    }
}

impl Drop for Synapse {
    fn drop(&mut self) {
        // Its files go too, so there is nothing to save.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The Python that has the peers' packages.
pub(crate) fn peers_python() -> PathBuf {
    let Some(python) = env::var_os("PASSEUR_TEST_PEERS_PYTHON") else {
        panic!(
            "PASSEUR_TEST_PEERS_PYTHON is not set: run `cargo xtask test`, which installs the foreign peers and sets \
             it, or leave these tests out with `cargo test -- --skip peers::`"
        )
    };
    python.into()
}

/// Starts the process and waits for the datagram by which it tells a service manager that it is ready.
fn spawn(folder: &Path) -> Child {
    // The socket of the start before is left behind.
    let _ = fs::remove_file(folder.join("ready"));
    let ready = UnixDatagram::bind(folder.join("ready")).expect("a socket");
    let tick = Duration::from_secs(1);
    ready.set_read_timeout(Some(tick)).expect("a time limit");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("Synapse's log");
    let mut child = Command::new(peers_python())
        .args(["-m", "synapse.app.homeserver", "-c", "homeserver.yaml"])
        .current_dir(folder)
        .env("NOTIFY_SOCKET", folder.join("ready"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("Synapse can be started");
    let mut datagram = [0; 256];
    for _ in 0..START_SECONDS_MAX {
        if let Ok(length) = ready.recv(&mut datagram) {
            assert!(
                datagram[..length].starts_with(b"READY=1"),
                "an unexpected datagram"
            );
            return child;
        }
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
    }
    let _ = child.kill();
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("Synapse did not start: {log}");
}

/// A new signing key in Synapse's format.
fn signing_key(version: &str) -> String {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("random bytes");
    format!("ed25519 {version} {}\n", STANDARD_NO_PAD.encode(seed))
}

/// The whole configuration file.
fn configuration(
    ca: &TestCa,
    folder: &Path,
    address: &str,
    ports: Ports,
    client_port: u16,
) -> String {
    let certificate = ca.issue(address);
    let unlimited = "{per_second: 1000000, burst_count: 1000000}";
    format!(
        r#"server_name: "{address}:{outside}"
listeners:
  - {{bind_addresses: [127.0.0.1], port: {client_port}, tls: false, type: http, resources: [{{names: [client], compress: false}}]}}
  - {{bind_addresses: [{address}], port: {inside}, tls: true, type: http, resources: [{{names: [federation]}}]}}
database: {{name: sqlite3, args: {{database: {folder}/homeserver.db}}}}
media_store_path: {folder}/media
signing_key_path: {folder}/signing.key
macaroon_secret_key: test
form_secret: test
tls_certificate_path: {certificate}
tls_private_key_path: {key}
federation_custom_ca_list: [{root}]
ip_range_blacklist: []
federation_ip_range_blacklist: []
trusted_key_servers: []
report_stats: false
presence: {{enabled: false}}
allow_public_rooms_over_federation: true
dynamic_thumbnails: true
room_list_publication_rules: [{{action: allow}}]
enable_registration: true
enable_registration_without_verification: true
bcrypt_rounds: 4
federation: {{destination_min_retry_interval: 200, destination_max_retry_interval: 1s, client_timeout: 20s}}
rc_message: {unlimited}
rc_registration: {unlimited}
rc_login: {{address: {unlimited}, account: {unlimited}, failed_attempts: {unlimited}}}
rc_joins: {{local: {unlimited}, remote: {unlimited}}}
rc_joins_per_room: {unlimited}
rc_invites: {{per_room: {unlimited}, per_user: {unlimited}, per_issuer: {unlimited}}}
rc_key_requests: {unlimited}
rc_media_create: {unlimited}
rc_profile: {unlimited}
rc_room_creation: {unlimited}
rc_federation: {{window_size: 1000, sleep_limit: 1000000, sleep_delay: 1, reject_limit: 1000000, concurrent: 100}}
"#,
        outside = ports.outside,
        inside = ports.inside,
        folder = folder.display(),
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
        root = ca.file().display(),
    )
}
