//! `[[listeners]]`: where the server can be reached, and with what.
//!
//! Invariant: plain HTTP is only for loopback or for a reverse proxy that is named; nothing else may serve it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use serde::Deserialize;

use super::problem::Problems;

/// Shortest prefix of a declared proxy's range: a wider one would let half the internet say who it is.
const PROXY_PREFIX_BITS_MIN: (u8, u8) = (8, 32);

/// A group of endpoints that a listener may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// The client-server API, with `/.well-known/matrix/client`.
    Client,
    /// The server-server API, with keys and `/.well-known/matrix/server`.
    Federation,
    /// Upload and download of media.
    Media,
    /// `/metrics`, for the operator.
    Metrics,
}

/// One socket.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// The address to bind; `0.0.0.0` or `::` for all.
    pub address: IpAddr,
    /// The port to bind; 0 takes a free one.
    pub port: u16,
    /// What is served there.
    pub resources: BTreeSet<Resource>,
    /// Certificate and key; without them the listener speaks plain HTTP.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed; if not empty, nobody else is served.
    #[serde(default)]
    pub behind_proxy: Vec<IpNet>,
    /// Open connections at most; more wait to be accepted.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// Open connections from one address (IPv6: one /64) at most; proxies and this machine are exempt.
    #[serde(default = "connections_per_address_max")]
    pub connections_per_address_max: usize,
}

/// Files of a TLS listener, both PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

const fn connections_max() -> usize {
    8192
}

const fn connections_per_address_max() -> usize {
    256
}

impl ListenerConfig {
    /// A listener on a free port of IPv4 loopback, plain unless `tls`.
    #[must_use]
    pub fn loopback(resources: impl IntoIterator<Item = Resource>, tls: Option<TlsConfig>) -> Self {
        Self {
            address: IpAddr::from([127, 0, 0, 1]),
            port: 0,
            resources: resources.into_iter().collect(),
            tls,
            behind_proxy: Vec::new(),
            connections_max: connections_max(),
            connections_per_address_max: connections_per_address_max(),
        }
    }

    /// The address to bind.
    #[must_use]
    pub fn socket_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Checks each and all together.
    pub(super) fn check_all(listeners: &[Self], problems: &mut Problems) {
        if listeners.is_empty() {
            problems.add(
                "listeners",
                "is empty: add at least one [[listeners]] with address, port, resources and tls",
            );
        }
        let mut seen = BTreeMap::new();
        for (index, listener) in listeners.iter().enumerate() {
            listener.check(index, problems);
            let taken = (listener.port != 0)
                .then(|| seen.insert(listener.socket_address(), index))
                .flatten();
            if let Some(earlier) = taken {
                let address = listener.socket_address();
                problems.add(
                    format!("listeners.{index}.port"),
                    format!("{address} is taken by listeners.{earlier}: merge their resources"),
                );
            }
        }
    }

    /// Checks one.
    fn check(&self, index: usize, problems: &mut Problems) {
        let key = |name: &str| format!("listeners.{index}.{name}");
        if self.resources.is_empty() {
            problems.add(
                key("resources"),
                "is empty: name some of \"client\", \"federation\", \"media\", \"metrics\"",
            );
        }
        if self.tls.is_none() && self.behind_proxy.is_empty() && !self.address.is_loopback() {
            let message = format!(
                "is plain HTTP on {}, which others can read: add tls = {{ certificate = …, key = … }}, \
                 or behind_proxy = [\"the proxy's address\"], or bind 127.0.0.1",
                self.address
            );
            problems.add(key("address"), message);
        }
        if !self.address.is_loopback()
            && self.resources.contains(&Resource::Metrics)
            && self.resources.len() > 1
        {
            problems.add(key("resources"), "shows \"metrics\" to everyone who may use the rest: give metrics a loopback listener of its own");
        }
        for proxy in &self.behind_proxy {
            let bits_min = if proxy.addr().is_ipv4() {
                PROXY_PREFIX_BITS_MIN.0
            } else {
                PROXY_PREFIX_BITS_MIN.1
            };
            if proxy.prefix_len() < bits_min {
                problems.add(
                    key("behind_proxy"),
                    format!(
                        "{proxy} is too wide to be a proxy: a prefix has at least {bits_min} bits"
                    ),
                );
            }
        }
        for (name, value) in [
            ("connections_max", self.connections_max),
            (
                "connections_per_address_max",
                self.connections_per_address_max,
            ),
        ] {
            // tokio's semaphores hold half a billion permits even on 32 bits.
            if value == 0 || value > 1_000_000 {
                problems.add(key(name), "must lie between 1 and 1000000");
            }
        }
    }
}
