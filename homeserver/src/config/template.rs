//! The commented configuration that `passeur init` writes.
//!
//! Invariant: it is accepted as it stands, and every commented line shows the default or a valid example.

use std::path::Path;

/// A new configuration for `server_name`, in which the data folder is the folder of the file, and the keys of what expires
/// are in `key_store`.
#[must_use]
pub fn template(server_name: &ruma::ServerName, key_store: &Path) -> String {
    let key_store = toml::Value::from(key_store.display().to_string());
    TEMPLATE
        .replace("@SERVER_NAME@", server_name.as_str())
        .replace("@KEY_STORE@", &key_store.to_string())
}

/// The text; only the server's name and that folder differ.
const TEMPLATE: &str = r##"# Configuration of a Passeur homeserver.
#
# Every key may be set from the environment too: PASSEUR__SECTION__KEY, as PASSEUR__LOG__LEVEL=debug.
# Relative paths start at the folder of this file. `passeur check-config --config FILE` checks it.
# SIGHUP reads again: certificates, log.level and rate_limits.

# The part of user IDs after the colon, with a port if other servers shall use one. It can never be changed.
server_name = "@SERVER_NAME@"

# Keys, media and an SQLite database live here.
data_dir = "."

# Any number of listeners. Resources: client, federation, media, metrics.
# Plain HTTP is served on loopback only, or to reverse proxies that are named in behind_proxy, whose
# X-Forwarded-For and X-Forwarded-Proto are then believed.
[[listeners]]
address = "127.0.0.1"
port = 8008
resources = ["client", "federation", "media"]
behind_proxy = ["127.0.0.1/32"]
# connections_max = 8192
# connections_per_address_max = 256

# TLS without a proxy (1.3 only):
# [[listeners]]
# address = "::"
# port = 8448
# resources = ["client", "federation", "media"]
# tls = { certificate = "fullchain.pem", key = "privkey.pem" }

# Counters for Prometheus:
# [[listeners]]
# address = "127.0.0.1"
# port = 9008
# resources = ["metrics"]

[database]
# sqlite: and a path, or postgres://user:password@host/database
url = "sqlite:passeur.db"
# Connections for reading: 2 to 8, as there are cores, unless told otherwise.
# pool_size = 4
# What rooms, events and keys may take in memory, in MiB. A room of 10,000 members takes about 4.
# cache_mb = 18

[registration]
# closed (`passeur user create` makes accounts), token (`passeur registration-token create`), or open.
mode = "closed"
# With this secret a program may make accounts whatever the mode. Make one with `openssl rand -hex 32`.
# shared_secret_file = "registration.secret"

# The cost of a password's hash (Argon2id).
[passwords]
# memory_kib = 19456
# iterations = 2
# parallelism = 1

[rooms]
# 6 to 12
# default_version = "12"

[federation]
# enabled = true
# The only servers to speak with, both ways; absent: all.
# allowed_servers = ["example.net"]
# Servers that are not spoken with, both ways, whoever is allowed.
# denied_servers = ["example.com"]
# Certificate authorities beside the system's.
# ca_files = ["our-ca.pem"]
# Other servers are never contacted at private, loopback or link-local addresses, except in these ranges.
# private_ranges = ["10.20.0.0/16"]
# Servers that are believed about the keys of third ones.
# trusted_notaries = []
# A SOCKS5 proxy through which all other servers are reached. It resolves their names; nothing goes past it. Servers that are found
# by service records alone cannot be reached through one.
# proxy = "socks5h://127.0.0.1:9050"
# The only servers to reach through it, beside onion names; absent: all.
# proxied_servers = ["example.net"]
# Public signing keys that prove nothing, because they are weak or were stolen.
# denied_keys = ["Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw"]
# connect_timeout_ms = 10000
# request_timeout_ms = 60000

[admin]
# users = ["@admin:@SERVER_NAME@"]

[log]
# off, error, warn, info, debug, trace; text or json. At no level does a line say who, where or what.
# level = "info"
# format = "text"

[media]
# upload_bytes_max = 52428800
# path = "media"

[well_known]
# What clients that only know the server's name are told:
# client_base_url = "https://matrix.@SERVER_NAME@"
# Where other servers find federation, if not at server_name itself:
# server = "matrix.@SERVER_NAME@:443"
# Whom people may turn to:
# support_page = "https://@SERVER_NAME@/help"
# support_contacts = [{ role = "m.role.admin", email_address = "admin@@SERVER_NAME@" }]

# The relay for calls, and the secret that it takes for time-limited credentials.
[turn]
# uris = ["turn:turn.@SERVER_NAME@:3478?transport=udp", "turns:turn.@SERVER_NAME@:5349"]
# shared_secret = "as in the relay's configuration"
# credentials_secs = 86400

[presence]
# Whether people who share a room see of each other who is online.
# enabled = false

[expiry]
# Expired content is destroyed this often, at most every 30 s.
# purge_interval_ms = 10000
# What expires is encrypted under keys in this folder, and unreadable for ever, in every copy, once they are destroyed. It lies apart
# from the data and is in no backup. If it is lost, all that expires is lost.
key_store = @KEY_STORE@

[profiles]
# Whether names and pictures are shown to those who are not logged in too, and to servers that share no room.
# public = true

# Requests a second that may come for ever, and at once after a pause, of one user or address.
[rate_limits]
# enabled = true
# login = { per_second = 0.2, burst = 10 }
# registration = { per_second = 0.05, burst = 5 }
# message = { per_second = 10, burst = 100 }
# join = { per_second = 1, burst = 30 }
# keys = { per_second = 10, burst = 100 }
# media = { per_second = 5, burst = 60 }
# federation = { per_second = 50, burst = 500 }
# general = { per_second = 50, burst = 300 }
"##;
