//! Addresses that may be connected to.
//!
//! Invariant: an [`Endpoint`] holds only addresses that passed the deny list, and a connection is made to these and to none
//! that a later look-up would give. So a name that resolves to something private, now or the next time it is asked for
//! (rebinding), leads nowhere. If a proxy is configured, no name is looked up here at all, and nothing is reached but through it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{
    ResolveError,
    dns::{Dns, Service},
};
use crate::config::{FederationConfig, is_onion};

/// One place to connect to: whose certificate to expect, and the checked addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The host in whose name the certificate must be: a domain name, or an IP address (version 6 in brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where it is; empty if a proxy resolves the host, and never otherwise.
    pub addresses: Vec<IpAddr>,
}

impl Endpoint {
    /// The addresses with the port.
    pub fn socket_addresses(&self) -> Vec<SocketAddr> {
        self.addresses
            .iter()
            .map(|address| SocketAddr::new(*address, self.port))
            .collect()
    }
}

/// Look-ups whose results have passed the deny list.
#[derive(Debug, Clone)]
pub struct CheckedDns {
    /// Where names are asked for.
    pub(super) dns: Arc<dyn Dns>,
    /// Which addresses are allowed.
    pub(super) config: Arc<FederationConfig>,
}

impl CheckedDns {
    /// Look-ups by `dns`, checked by `config`.
    pub fn new(dns: Arc<dyn Dns>, config: Arc<FederationConfig>) -> Self {
        Self { dns, config }
    }

    /// The service records of a name: none through a proxy, which cannot be asked for them.
    pub(super) async fn services(&self, name: &str) -> Result<Vec<Service>, ResolveError> {
        if self.config.proxy.is_some() || is_onion(name) {
            return Ok(Vec::new());
        }
        self.dns.services(name).await
    }

    /// The endpoint of a host with a certificate in its own name.
    pub(super) async fn endpoint(&self, host: &str, port: u16) -> Result<Endpoint, ResolveError> {
        self.endpoint_at(host, host, port).await
    }

    /// The endpoint at `target` that must show a certificate for `host`.
    pub(super) async fn endpoint_at(
        &self,
        host: &str,
        target: &str,
        port: u16,
    ) -> Result<Endpoint, ResolveError> {
        let found = match ip_literal(target) {
            Some(address) => vec![address],
            None if self.config.proxy.is_some() => {
                return Ok(Endpoint {
                    host: host.to_owned(),
                    port,
                    addresses: Vec::new(),
                });
            }
            // "must not be looked up in the domain name system" (RFC 7686): such a name would betray where one wants to go.
            None if is_onion(target) => return Err(ResolveError::Refused),
            None => self.dns.addresses(target).await?,
        };
        if found.is_empty() {
            return Err(ResolveError::NoAddress);
        }
        let addresses: Vec<IpAddr> = found
            .into_iter()
            .map(|address| address.to_canonical())
            .filter(|address| self.config.allows_address(*address))
            .collect();
        if addresses.is_empty() {
            return Err(ResolveError::Refused);
        }
        Ok(Endpoint {
            host: host.to_owned(),
            port,
            addresses,
        })
    }
}

/// The address that a host is written as, if it is one. Version 6 stands in brackets.
pub(super) fn ip_literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    }
}
