//! An organisation: a homeserver with its folder, as its operator would set it up.

use std::{
    fs::{self, DirBuilder},
    net::TcpListener,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use passeur_sdk::{Client, ClientError};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, PAUSE, certificates::Authority, child::Children, programs::Programs};
use crate::process;

/// The address of everything.
pub(crate) const LOOPBACK: &str = "127.0.0.1";

/// How many ports are tried.
const PORTS_TRIED: u16 = 200;

/// What `passeur init` writes, and what the demo needs in its place.
const LISTENER: &str = r#"port = 8008
resources = ["client", "federation", "media"]
behind_proxy = ["127.0.0.1/32"]
"#;

/// An organisation.
pub(crate) struct Org {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Where its server's keys, database, media and log are.
    pub(crate) folder: PathBuf,
    /// Its server's name, also host and port of its TLS listener.
    pub(crate) server_name: String,
    /// A plain listener on loopback, for clients that cannot be taught another authority.
    pub(crate) plain_url: String,
    /// The PEM file of the authority that its certificate is signed by.
    authority: PathBuf,
}

/// The first port from `from` on that nobody listens on.
pub(crate) fn free_port(from: u16) -> Result<u16, String> {
    (from..from.saturating_add(PORTS_TRIED))
        .find(|port| TcpListener::bind((LOOPBACK, *port)).is_ok())
        .ok_or_else(|| format!("no free port from {from} on"))
}

impl Org {
    /// Makes folder, certificate and configuration. Ports are searched from `tls_port` and `plain_port` on.
    pub(crate) fn new(
        name: &'static str,
        work: &Path,
        programs: &Programs,
        authority: &Authority,
        (tls_port, plain_port): (u16, u16),
    ) -> Result<Self, String> {
        let folder = work.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let (tls_port, plain_port) = (free_port(tls_port)?, free_port(plain_port)?);
        let server_name = format!("{LOOPBACK}:{tls_port}");
        let mut init = programs.passeur();
        init.args(["init", "--server-name", &server_name, "--data"])
            .arg(&folder);
        process::capture(&mut init)?;
        authority.issue(LOOPBACK, &folder)?;
        configure(
            &folder.join("passeur.toml"),
            &[
                (LISTENER, &listeners(tls_port, plain_port)),
                ("mode = \"closed\"", "mode = \"open\""),
                (
                    "# ca_files = [\"our-ca.pem\"]",
                    &format!("ca_files = ['{}']", authority.file().display()),
                ),
                (
                    "# private_ranges = [\"10.20.0.0/16\"]",
                    "private_ranges = [\"127.0.0.0/8\"]",
                ),
            ],
        )?;
        Ok(Self {
            name,
            folder,
            server_name,
            plain_url: format!("http://{LOOPBACK}:{plain_port}"),
            authority: authority.file().to_owned(),
        })
    }

    /// Starts the server.
    pub(crate) fn serve(&self, programs: &Programs, children: &mut Children) -> Result<(), String> {
        let mut command = programs.passeur();
        command
            .arg("serve")
            .arg("--config")
            .arg(self.folder.join("passeur.toml"));
        let name = format!("passeur of the {}", self.name);
        children.start(&name, command, &self.folder.join("passeur.log"))
    }

    /// Waits until the server answers over TLS.
    pub(crate) async fn wait_until_ready(&self, children: &mut Children) -> Result<(), String> {
        let client = self
            .client("demo")
            .await
            .map_err(|error| error.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match client.discover().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(format!(
                        "the {}'s server does not answer: {error}",
                        self.name
                    ));
                }
                Err(_) => children.check()?,
            }
            sleep(PAUSE).await;
        }
    }

    /// Where clients and servers reach it by TLS.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.server_name)
    }

    /// A client of this server that is not logged in and keeps everything in memory.
    pub(crate) async fn client(&self, device: &str) -> Result<Client, ClientError> {
        Client::builder()
            .homeserver(&self.url())
            .root_certificates_file(&self.authority)?
            .only_given_roots()
            .device_name(device)
            .build()
            .await
    }
}

/// A listener with TLS for everybody, and a plain one for clients on this machine.
fn listeners(tls_port: u16, plain_port: u16) -> String {
    format!(
        r#"port = {tls_port}
resources = ["client", "federation", "media"]
tls = {{ certificate = "tls.crt", key = "tls.key" }}

[[listeners]]
address = "{LOOPBACK}"
port = {plain_port}
resources = ["client", "media"]
"#
    )
}

/// Replaces lines of a configuration that a program's `init` has written.
pub(crate) fn configure(file: &Path, edits: &[(&str, &str)]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut text = fs::read_to_string(file).map_err(failed)?;
    for (old, new) in edits {
        if text.matches(old).count() != 1 {
            return Err(format!(
                "{} does not have exactly once: {old}",
                file.display()
            ));
        }
        text = text.replace(old, new);
    }
    fs::write(file, text).map_err(failed)
}
