//! The commented configuration that `passeur-alert init` writes.
//!
//! Invariant: the template is itself a valid configuration once the values marked in it are filled in, and nothing that is
//! there is ever overwritten.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::ConfigError;

/// A commented configuration.
pub const TEMPLATE: &str = r#"# passeur-alert: brings alerts into an encrypted room.
# Every key can be given by the environment instead: PASSEUR_ALERT__SECTION__KEY.
# Paths are relative to this file's folder.

[homeserver]
# Base URL of the bot's homeserver.
url = "https://matrix.example.org"
# The bot's account: user ID or localpart.
user = "alerts"
# Read at the first start only; the session is kept in the store afterwards.
password_file = "password"
# Root certificates to trust besides the system's, in PEM.
#extra_ca_files = ["ca.pem"]
# Reach the homeserver through Tor or another SOCKS proxy; names are resolved there.
#socks_proxy = "socks5h://127.0.0.1:9050"
# What the account's list of devices shows.
#device_name = "passeur-alert"

[store]
# Keys, queue and state, encrypted with the passphrase.
path = "passeur-alert.db"
passphrase_file = "store.passphrase"

[room]
# Invite the bot into this room. It must be encrypted: nothing is ever sent in the clear.
id = "!room:example.org"
# Who may command the bot; every member who may read if empty.
#operators = ["@alice:example.org"]
# Who may read alerts, besides the operators; whoever is in the room at the first alert if empty. The bot says in the room who
# else has joined, and gives them no keys until they are accepted: "!accept @carol:example.org".
#members = ["@bob:example.org"]

[webhook]
# Loopback, or with TLS any address.
listen = "127.0.0.1:9095"
# Senders must present this token: "Authorization: Bearer ...".
token_file = "webhook.token"
#tls_certificate_file = "cert.pem"
#tls_key_file = "key.pem"
# The largest body taken, in bytes.
#body_bytes_max = 1048576

[expiry]
# How long messages live: 30s, 5m, 1h, 8h, 1d, 7d, 28d or never.
default = "7d"

[expiry.severity]
critical = "28d"
warning = "7d"
info = "1d"

[log]
# error, warn, info, debug or trace.
level = "info"
# text or json.
format = "text"
"#;

/// Writes a new file that only its owner may read.
///
/// # Errors
///
/// [`ConfigError::Exists`] if there is a file of that name already, else [`ConfigError::Write`].
pub fn write_new(path: &Path, content: &str) -> Result<(), ConfigError> {
    let failed = |error| ConfigError::Write {
        path: path.to_owned(),
        error,
    };
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => ConfigError::Exists(path.to_owned()),
        _ => failed(error),
    })?;
    file.write_all(content.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}
