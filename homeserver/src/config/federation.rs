//! `[federation]`: with whom the server speaks, and how.
//!
//! Invariant: an address that is not public is never contacted unless its range is listed; no notary is trusted unless it is named.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use ruma::{OwnedServerName, ServerName, serde::Base64};
use serde::Deserialize;

use super::{address_rules::is_public, problem::Problems};

/// Longest timeout that can be set, in milliseconds: ten minutes.
const TIMEOUT_MS_MAX: u64 = 600_000;

/// Rules of federation, both ways.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FederationConfig {
    /// Whether there is any.
    pub enabled: bool,
    /// PEM files of certificate authorities that are trusted for other servers, beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// Ranges that other servers may have though they are private, loopback, link-local or the like.
    pub private_ranges: Vec<IpNet>,
    /// Servers that are believed about the keys of third ones.
    pub trusted_notaries: Vec<OwnedServerName>,
    /// Public signing keys, in base64, that prove nothing: known weak ones, and those that were stolen.
    pub denied_keys: Vec<Base64>,
    /// The only servers that are spoken with, both ways; all if absent.
    pub allowed_servers: Option<Vec<OwnedServerName>>,
    /// Servers that are not spoken with, both ways.
    pub denied_servers: Vec<OwnedServerName>,
    /// A SOCKS5 proxy, as `socks5h://127.0.0.1:9050`, through which other servers are reached: it resolves their names.
    pub proxy: Option<String>,
    /// The only servers that are reached through the proxy, beside onion names, which are reached in no other way; all if
    /// absent.
    pub proxied_servers: Option<Vec<OwnedServerName>>,
    /// Longest wait for a connection, in milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest wait for a whole answer, in milliseconds.
    pub request_timeout_ms: u64,
}

impl Default for FederationConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            ca_files: Vec::new(),
            private_ranges: Vec::new(),
            trusted_notaries: Vec::new(),
            denied_keys: Vec::new(),
            allowed_servers: None,
            denied_servers: Vec::new(),
            proxy: None,
            proxied_servers: None,
            connect_timeout_ms: 10_000,
            request_timeout_ms: 60_000,
        }
    }
}

impl FederationConfig {
    /// Whether a connection to `address` may be opened.
    #[must_use]
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address)
            || self
                .private_ranges
                .iter()
                .any(|range| range.contains(&address))
    }

    /// Whether `server` is spoken with at all, in either direction.
    #[must_use]
    pub fn allows_server(&self, server: &ServerName) -> bool {
        self.enabled
            && !self.denied_servers.iter().any(|name| name == server)
            && self
                .allowed_servers
                .as_ref()
                .is_none_or(|allowed| allowed.iter().any(|name| name == server))
    }

    /// Whether a host is reached through the proxy, and in no other way.
    #[must_use]
    pub fn is_proxied(&self, host: &str) -> bool {
        let is_chosen = |chosen: &Vec<OwnedServerName>| {
            chosen
                .iter()
                .any(|name| name.host().eq_ignore_ascii_case(host))
        };
        self.proxy.is_some()
            && (is_onion(host) || self.proxied_servers.as_ref().is_none_or(is_chosen))
    }

    /// Longest wait for a connection.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// Longest wait for a whole answer.
    #[must_use]
    pub const fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self.enabled && self.allowed_servers.as_ref().is_some_and(Vec::is_empty) {
            problems.add(
                "federation.allowed_servers",
                "allows nobody: name servers, remove it to allow all, or set enabled = false",
            );
        }
        if let Some(proxy) = &self.proxy
            && proxy_address(proxy).is_none()
        {
            problems.add(
                "federation.proxy",
                "write socks5h:// with an IP address and a port, as socks5h://127.0.0.1:9050: the proxy must resolve names, \
                 and its own must not need to be",
            );
        }
        if self.proxy.is_none() && self.proxied_servers.is_some() {
            problems.add(
                "federation.proxied_servers",
                "there is no proxy: set federation.proxy as well, or remove it",
            );
        }
        for (key, timeout_ms) in [
            ("federation.connect_timeout_ms", self.connect_timeout_ms),
            ("federation.request_timeout_ms", self.request_timeout_ms),
        ] {
            if !(1..=TIMEOUT_MS_MAX).contains(&timeout_ms) {
                problems.add(
                    key,
                    format!("must lie between 1 and {TIMEOUT_MS_MAX} milliseconds"),
                );
            }
        }
        for (index, file) in self.ca_files.iter().enumerate() {
            if let Err(error) = std::fs::metadata(file) {
                problems.add(
                    format!("federation.ca_files.{index}"),
                    format!("{} cannot be read: {error}", file.display()),
                );
            }
        }
    }
}

/// Whether a name leads into the Tor network.
pub fn is_onion(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next();
    last.is_some_and(|last| last.eq_ignore_ascii_case("onion"))
}

/// The address of a proxy that resolves names itself.
fn proxy_address(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("socks5h://")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn a_proxy_resolves_names_and_has_none() {
        for good in ["socks5h://127.0.0.1:9050", "socks5h://[::1]:9050"] {
            assert!(proxy_address(good).is_some(), "{good}");
        }
        for bad in [
            "socks5://127.0.0.1:9050",
            "http://127.0.0.1:9050",
            "socks5h://localhost:9050",
            "socks5h://127.0.0.1",
            "socks5h://user@127.0.0.1:9050",
            "socks5h://127.0.0.1:9050/",
        ] {
            assert!(proxy_address(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_denied_server_is_not_spoken_with_though_all_or_it_are_allowed() {
        let (friend, foe) = (server_name!("friend.org"), server_name!("foe.org"));
        let mut config = FederationConfig {
            denied_servers: vec![foe.to_owned()],
            ..FederationConfig::default()
        };
        assert!(config.allows_server(friend) && !config.allows_server(foe));
        config.allowed_servers = Some(vec![friend.to_owned(), foe.to_owned()]);
        assert!(config.allows_server(friend) && !config.allows_server(foe));
    }

    #[test]
    fn the_proxy_is_for_all_or_for_those_who_are_chosen() {
        let mut config = FederationConfig::default();
        assert!(!config.is_proxied("hidden.org"));
        config.proxy = Some("socks5h://127.0.0.1:9050".to_owned());
        assert!(config.is_proxied("hidden.org") && config.is_proxied("open.org"));
        config.proxied_servers = Some(vec![server_name!("hidden.org:8449").to_owned()]);
        assert!(config.is_proxied("Hidden.org") && !config.is_proxied("open.org"));
        assert!(config.is_proxied("abc.onion"));
    }
}
