//! Synapse, the reference homeserver, as a federation peer.

use std::{
    env,
    fs::{self, File},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use tempfile::TempDir;

use crate::{Homeserver, ca::TestCa, net};

/// How long Synapse may take until it serves, in seconds, on a machine busy with other tests.
const START_SECONDS_MAX: u32 = 180;

/// A running Synapse with an empty SQLite database, open registration, no rate limits and no key notary.
pub struct Synapse {
    child: Child,
    folder: TempDir,
    server_name: String,
    client_port: u16,
}

impl Synapse {
    /// Starts a server whose federation listener is at a free port of `address` (a loopback address, for instance
    /// `127.0.0.2`), with a certificate of `ca`, and waits until it serves.
    pub fn start(ca: &TestCa, address: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let federation_port = net::free_port(address);
        let client_port = net::free_port("127.0.0.1");
        let server_name = format!("{address}:{federation_port}");
        let config = configuration(ca, folder.path(), address, federation_port, client_port);
        fs::write(folder.path().join("homeserver.yaml"), config).expect("Synapse's configuration");
        fs::write(folder.path().join("signing.key"), signing_key()).expect("Synapse's key");
        let child = spawn(folder.path());
        Self {
            child,
            folder,
            server_name,
            client_port,
        }
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
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    let ready = UnixDatagram::bind(folder.join("ready")).expect("a socket");
    let tick = Duration::from_secs(1);
    ready.set_read_timeout(Some(tick)).expect("a time limit");
    let log = File::create(folder.join("log")).expect("Synapse's log");
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
fn signing_key() -> String {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("random bytes");
    format!("ed25519 a_test {}\n", STANDARD_NO_PAD.encode(seed))
}

/// The whole configuration file.
fn configuration(
    ca: &TestCa,
    folder: &Path,
    address: &str,
    federation_port: u16,
    client_port: u16,
) -> String {
    let certificate = ca.issue(address);
    let unlimited = "{per_second: 1000000, burst_count: 1000000}";
    format!(
        r#"server_name: "{address}:{federation_port}"
listeners:
  - {{bind_addresses: [127.0.0.1], port: {client_port}, tls: false, type: http, resources: [{{names: [client], compress: false}}]}}
  - {{bind_addresses: [{address}], port: {federation_port}, tls: true, type: http, resources: [{{names: [federation]}}]}}
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
rc_room_creation: {unlimited}
rc_federation: {{window_size: 1000, sleep_limit: 1000000, sleep_delay: 1, reject_limit: 1000000, concurrent: 100}}
"#,
        folder = folder.display(),
        certificate = certificate.certificate.display(),
        key = certificate.key.display(),
        root = ca.file().display(),
    )
}
