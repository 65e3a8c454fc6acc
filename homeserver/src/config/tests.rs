//! What the configuration accepts, and what it says when it does not.

use std::path::Path;

use insta::assert_snapshot;
use ruma::{OwnedServerName, server_name};

use super::{Config, ConfigError, Resource, load::parse, template};

/// The smallest configuration that is accepted.
const MINIMAL: &str = r#"
server_name = "example.org:8448"
data_dir = "data"
[[listeners]]
address = "127.0.0.1"
port = 8008
resources = ["client", "federation"]
"#;

/// Reads a text as if it were `/etc/passeur/passeur.toml`.
fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let file = Path::new("/etc/passeur/passeur.toml");
    let environment = environment
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    parse(text, file, environment).map_err(|problems| ConfigError {
        file: file.to_owned(),
        problems,
    })
}

/// What is said about the minimal text with something added.
fn complaint(added: &str) -> String {
    read(&format!("{MINIMAL}{added}"), &[])
        .unwrap_err()
        .to_string()
}

#[test]
fn the_minimal_text_is_accepted_and_its_paths_start_at_its_folder() {
    let config = read(MINIMAL, &[]).unwrap();
    assert_eq!(config.server_name, "example.org:8448");
    assert_eq!(config.data_dir, Path::new("/etc/passeur/data"));
    assert_eq!(config.media_dir(), Path::new("/etc/passeur/data/media"));
    assert_eq!(
        config.database_url().expose(),
        "sqlite:/etc/passeur/data/passeur.db"
    );
}

#[test]
fn the_template_is_accepted_as_it_stands_and_with_every_comment_removed_but_prose() {
    let text = template(server_name!("example.org"), Path::new("/keys of 'passeur'"));
    read(&text, &[]).unwrap();
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if rest.contains(" = ") && !rest.contains(':')
                    || rest.starts_with("default_version")
                    || rest.starts_with("proxy = ") =>
            {
                rest
            }
            _ => line,
        })
        .filter(|line| !line.contains("ca_files") && !line.contains("shared_secret"))
        .filter(|line| !line.starts_with("address = \"::\"") && !line.starts_with("tls"))
        .collect();
    // The commented listeners are incomplete by now: what is tested is that no key below the first section is unknown.
    let sections = uncommented.join("\n");
    let sections = &sections[sections.find("[database]").unwrap()..];
    read(&format!("{}{sections}", MINIMAL.replace(":8448", "")), &[]).unwrap();
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_valid_one() {
    assert_snapshot!(complaint("[federation]\nalowed_servers = []\n"), @"/etc/passeur/passeur.toml:9: `alowed_servers` is not known here; did you mean `allowed_servers`? (expected one of `enabled`, `ca_files`, `private_ranges`, `trusted_notaries`, `denied_keys`, `allowed_servers`, `denied_servers`, `proxy`, `proxied_servers`, `connect_timeout_ms`, `request_timeout_ms`)");
    assert_snapshot!(complaint("[regsitration]\nmode = \"open\"\n"), @"/etc/passeur/passeur.toml:8: `regsitration` is not known here; did you mean `registration`? (expected one of `server_name`, `data_dir`, `listeners`, `database`, `registration`, `passwords`, `rooms`, `federation`, `rate_limits`, `admin`, `log`, `media`, `well_known`, `presence`, `expiry`, `turn`, `profiles`)");
    assert_snapshot!(complaint("[registration]\nmode = \"opne\"\n"), @"/etc/passeur/passeur.toml:9: `opne` is not known here; did you mean `open`? (expected one of `closed`, `token`, `open`)");
}

#[test]
fn a_wrong_type_is_refused_with_its_line() {
    assert_snapshot!(complaint("[database]\npool_size = \"many\"\n"), @r#"/etc/passeur/passeur.toml:9: invalid type: string "many", expected u32"#);
    assert_snapshot!(complaint("[federation\n"), @"/etc/passeur/passeur.toml:8: unclosed table, expected `]`");
}

#[test]
fn every_problem_is_told_at_once_with_its_line() {
    let text = r#"
        server_name = "not a name"
        [[listeners]]
        address = "0.0.0.0"
        port = 80
        resources = []
        [[listeners]]
        address = "0.0.0.0"
        port = 80
        resources = ["client", "metrics"]
        behind_proxy = ["0.0.0.0/0"]
        [database]
        url = "mysql://root:hunter2@localhost"
        [passwords]
        memory_kib = 1
        [rooms]
        default_version = "5"
        [well_known]
        client_base_url = "http://example.org"
        [presence]
        enabled = true
        [expiry]
        purge_interval_ms = 60000
        [rate_limits]
        login = { per_second = 0, burst = 0 }
    "#;
    assert_snapshot!(read(text, &[]).unwrap_err(), @r#"
    /etc/passeur/passeur.toml:2: server_name "not a name" is no server name: write a host with or without a port, as example.org:8448
    /etc/passeur/passeur.toml: data_dir is missing: say where keys, media and the database live, as data_dir = "/var/lib/passeur"
    /etc/passeur/passeur.toml:6: listeners.0.resources is empty: name some of "client", "federation", "media", "metrics"
    /etc/passeur/passeur.toml:4: listeners.0.address is plain HTTP on 0.0.0.0, which others can read: add tls = { certificate = …, key = … }, or behind_proxy = ["the proxy's address"], or bind 127.0.0.1
    /etc/passeur/passeur.toml:10: listeners.1.resources shows "metrics" to everyone who may use the rest: give metrics a loopback listener of its own
    /etc/passeur/passeur.toml:11: listeners.1.behind_proxy 0.0.0.0/0 is too wide to be a proxy: a prefix has at least 8 bits
    /etc/passeur/passeur.toml:9: listeners.1.port 0.0.0.0:80 is taken by listeners.0: merge their resources
    /etc/passeur/passeur.toml:13: database.url must begin with sqlite: or postgres://
    /etc/passeur/passeur.toml:15: passwords.memory_kib must lie between 8 (8 a lane) and 4194304 (4 GiB)
    /etc/passeur/passeur.toml:17: rooms.default_version "5" cannot be created: write one of "6", "7", "8", "9", "10", "11", "12"
    /etc/passeur/passeur.toml:25: rate_limits.login.per_second must lie between 0.00001 and 1000000: to limit nothing, set rate_limits.enabled = false
    /etc/passeur/passeur.toml:25: rate_limits.login.burst must lie between 1 and 1000000
    /etc/passeur/passeur.toml:19: well_known.client_base_url must be an https:// URL, as "https://matrix.example.org"
    /etc/passeur/passeur.toml: federation.enabled is true, but no listener has the resource "federation": add it to one, or set enabled = false
    "#);
}

#[test]
fn contradictions_are_refused() {
    assert_snapshot!(complaint("[federation]\nenabled = false\n"), @r#"/etc/passeur/passeur.toml:7: listeners.0.resources has "federation", but federation.enabled is false: remove one of the two"#);
    assert_snapshot!(complaint("[federation]\nallowed_servers = []\n"), @"/etc/passeur/passeur.toml:9: federation.allowed_servers allows nobody: name servers, remove it to allow all, or set enabled = false");
    assert_snapshot!(complaint("[admin]\nusers = [\"@root:elsewhere.org\"]\n"), @"/etc/passeur/passeur.toml:9: admin.users.0 @root:elsewhere.org is no user of example.org:8448: administrators have accounts here");
    assert_snapshot!(complaint("[expiry]\nkey_store = \"data/keys\"\n"), @"/etc/passeur/passeur.toml:9: expiry.key_store must be a folder apart from data_dir and media.path: a copy of the data must not take the keys along");
    assert_snapshot!(
        complaint("[registration]\nshared_secret = \"0123456789abcdef\"\nshared_secret_file = \"/etc/hostname\"\n"),
        @"/etc/passeur/passeur.toml:10: registration.shared_secret_file and shared_secret are both set: remove one"
    );
}

#[test]
fn a_listener_with_federation_is_needed_for_federation() {
    let text = MINIMAL.replace(", \"federation\"", "");
    assert_snapshot!(read(&text, &[]).unwrap_err(), @r#"/etc/passeur/passeur.toml: federation.enabled is true, but no listener has the resource "federation": add it to one, or set enabled = false"#);
}

#[test]
fn the_environment_overrides_the_file_in_the_type_of_the_target() {
    let config = read(
        MINIMAL,
        &[
            ("PASSEUR__SERVER_NAME", "other.org"),
            ("PASSEUR__DATABASE__POOL_SIZE", "9"),
            (
                "PASSEUR__DATABASE__URL",
                "postgres://passeur:secret@localhost/passeur",
            ),
            ("PASSEUR__ROOMS__DEFAULT_VERSION", "11"),
            ("PASSEUR__FEDERATION__PRIVATE_RANGES", "[\"10.0.0.0/8\"]"),
            ("PASSEUR__LISTENERS__0__PORT", "8009"),
            ("PASSEUR__RATE_LIMITS__ENABLED", "false"),
            ("HOME", "/root"),
        ],
    )
    .unwrap();
    assert_eq!(config.server_name, "other.org");
    assert_eq!(config.database.pool_size, 9);
    assert_eq!(config.rooms.default_version.as_str(), "11");
    assert!(config.federation.allows_address([10, 1, 1, 1].into()));
    assert!(!config.federation.allows_address([192, 168, 1, 1].into()));
    assert_eq!(config.listeners[0].port, 8009);
    assert!(config.listeners[0].resources.contains(&Resource::Client));
    assert!(!config.rate_limits.enabled);
    assert!(
        !format!("{config:?}").contains("secret@"),
        "a secret is never shown"
    );
}

#[test]
fn a_wrong_variable_is_refused_by_its_name() {
    let said = |name, value| read(MINIMAL, &[(name, value)]).unwrap_err().to_string();
    assert_snapshot!(said("PASSEUR__DATABASE__POOLSIZE", "9"), @"environment variable PASSEUR__DATABASE__POOLSIZE: `poolsize` is not known here; did you mean `pool_size`? (expected one of `url`, `pool_size`, `cache_mb`)");
    assert_snapshot!(said("PASSEUR__DATABASE__POOL_SIZE", "nine"), @r#"environment variable PASSEUR__DATABASE__POOL_SIZE: invalid type: string "nine", expected u32"#);
    assert_snapshot!(said("PASSEUR__DATABASE__POOL_SIZE", "0"), @"environment variable PASSEUR__DATABASE__POOL_SIZE: database.pool_size must lie between 1 and 256");
    assert_snapshot!(said("PASSEUR__LISTENERS__7__PORT", "80"), @"environment variable PASSEUR__LISTENERS__7__PORT: `listeners` has no element 7; they count from 0");
}

#[test]
fn a_variable_is_blamed_for_what_it_set_and_the_file_for_the_rest() {
    let said = |name, value| read(MINIMAL, &[(name, value)]).unwrap_err().to_string();
    let plain = said("PASSEUR__LISTENERS__0__ADDRESS", "0.0.0.0");
    assert!(
        plain.starts_with(
            "environment variable PASSEUR__LISTENERS__0__ADDRESS: listeners.0.address is plain HTTP"
        ),
        "{plain}"
    );
    // Another key of the same listener is not to blame.
    let text = MINIMAL.replace("127.0.0.1", "0.0.0.0");
    let port = read(&text, &[("PASSEUR__LISTENERS__0__PORT", "8010")]);
    let port = port.unwrap_err().to_string();
    assert!(
        port.starts_with("/etc/passeur/passeur.toml:5: listeners.0.address"),
        "{port}"
    );
}

#[test]
fn an_unknown_key_of_a_listener_is_told_with_its_line() {
    assert_snapshot!(complaint("prot = 8008\n"), @"/etc/passeur/passeur.toml:8: `prot` is not known here; did you mean `port`? (expected one of `address`, `port`, `resources`, `tls`, `behind_proxy`, `connections_max`, `connections_per_address_max`)");
    assert_snapshot!(complaint("tls = { certificate = \"a\", kye = \"b\" }\n"), @"/etc/passeur/passeur.toml:8: `kye` is not known here; did you mean `key`? (expected `certificate` or `key`)");
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let error = Config::load(Path::new("/nonexistent/passeur.toml"), []).unwrap_err();
    assert_snapshot!(error, @"/nonexistent/passeur.toml: cannot be read: No such file or directory (os error 2); `passeur init` writes a new one");
}

#[test]
fn servers_outside_the_allow_list_are_not_spoken_with() {
    let allowed: OwnedServerName = server_name!("friend.org").to_owned();
    let config = read(
        &format!("{MINIMAL}[federation]\nallowed_servers = [\"{allowed}\"]\n"),
        &[],
    )
    .unwrap();
    assert!(config.federation.allows_server(&allowed));
    assert!(
        !config
            .federation
            .allows_server(server_name!("stranger.org"))
    );
}
