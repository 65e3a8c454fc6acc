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
    /// A SOCKS5 proxy, as `socks5h://127.0.0.1:9050`, through which all other servers are reached: it resolves their names.
    pub proxy: Option<String>,
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
            proxy: None,
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
            && self
                .allowed_servers
                .as_ref()
                .is_none_or(|allowed| allowed.iter().any(|name| name == server))
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

/// The address of a proxy that resolves names itself.
fn proxy_address(url: &str) -> Option<SocketAddr> {
    url.strip_prefix("socks5h://")?.parse().ok()
}

#[cfg(test)]
mod tests {
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
}
