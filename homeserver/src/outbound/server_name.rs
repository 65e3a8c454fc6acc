//! Server names to the places where their servers are.
//!
//! Invariant: every address of every step has passed the deny list ([`super::deny_list`]); the `Host` header and the name
//! in the certificate are those that the specification says for the step that decided.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names>

use std::{cmp::Reverse, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use ruma::{OwnedServerName, ServerName};

use super::{
    deny_list::{CheckedDns, Endpoint},
    dns::Service,
    well_known::{Web, WellKnown},
};
use crate::clock::Clock;

/// The port of federation where nothing else is said.
const DEFAULT_PORT: u16 = 8448;

/// Routes that are remembered.
const ROUTES_MAX: usize = 2000;

/// How long a route is used before the name is asked for again.
const ROUTE_TTL: Duration = Duration::from_secs(300);

/// Most endpoints of one server that are tried.
const ENDPOINTS_MAX: usize = 4;

/// Why a server name leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The domain name system failed, or the name is none.
    #[error("the look-up failed")]
    Dns,
    /// The name has no address.
    #[error("there is no address")]
    NoAddress,
    /// All addresses are private or otherwise special, and not allowed by the configuration.
    #[error("its addresses are not allowed")]
    Refused,
}

/// How to reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The `Host` header.
    pub host_header: String,
    /// Where to connect, in the order in which to try; never empty.
    pub endpoints: Vec<Endpoint>,
}

/// Resolves server names and remembers the results.
#[derive(Debug)]
pub struct ServerNames {
    dns: CheckedDns,
    well_known: WellKnown,
    clock: Arc<dyn Clock>,
    routes: Cache<OwnedServerName, (Arc<Route>, Duration)>,
}

impl ServerNames {
    /// Resolution by `dns`, and by documents fetched over `web`.
    pub fn new(dns: CheckedDns, web: Arc<dyn Web>, clock: Arc<dyn Clock>) -> Self {
        let well_known = WellKnown::new(dns.clone(), web, Arc::clone(&clock));
        Self {
            dns,
            well_known,
            clock,
            routes: Cache::new(ROUTES_MAX),
        }
    }

    /// How to reach `server`, remembered for five minutes.
    ///
    /// # Errors
    /// Any [`ResolveError`].
    pub async fn resolve(&self, server: &ServerName) -> Result<Arc<Route>, ResolveError> {
        let now = self.clock.monotonic();
        if let Some((route, until)) = self.routes.get(server)
            && now < until
        {
            return Ok(route);
        }
        let route = Arc::new(self.resolve_anew(server).await?);
        let until = now.saturating_add(ROUTE_TTL);
        self.routes
            .insert(server.to_owned(), (Arc::clone(&route), until));
        Ok(route)
    }

    /// Forgets a route that turned out to lead nowhere.
    pub fn forget(&self, server: &ServerName) {
        self.routes.remove(server);
    }

    async fn resolve_anew(&self, server: &ServerName) -> Result<Route, ResolveError> {
        // Steps 1 and 2: an IP literal or an explicit port decides alone.
        if decides_alone(server) {
            return self.direct(server).await;
        }
        // Step 3: delegation; what it names is resolved without a document of its own.
        match self.well_known.lookup(server.host()).await {
            Some(delegated) if decides_alone(&delegated) => self.direct(&delegated).await,
            Some(delegated) => self.by_service(&delegated).await,
            // Steps 4 to 6.
            None => self.by_service(server).await,
        }
    }

    /// An IP literal, or a host with a port.
    async fn direct(&self, server: &ServerName) -> Result<Route, ResolveError> {
        let port = server.port().unwrap_or(DEFAULT_PORT);
        let endpoint = self.dns.endpoint(server.host(), port).await?;
        Ok(Route {
            host_header: server.as_str().to_owned(),
            endpoints: vec![endpoint],
        })
    }

    /// A host without a port: its service records, or else port 8448 of its own addresses.
    async fn by_service(&self, server: &ServerName) -> Result<Route, ResolveError> {
        let host = server.host();
        for service in ["_matrix-fed._tcp", "_matrix._tcp"] {
            // A look-up that fails counts as one that finds nothing: the address record has the last word.
            let found = self.dns.services(&format!("{service}.{host}")).await;
            let found = found.unwrap_or_default();
            if !found.is_empty() {
                return self.at_services(host, found).await;
            }
        }
        let endpoint = self.dns.endpoint(host, DEFAULT_PORT).await?;
        Ok(Route {
            host_header: host.to_owned(),
            endpoints: vec![endpoint],
        })
    }

    /// The targets of service records; the certificate is for `host` all the same.
    async fn at_services(
        &self,
        host: &str,
        mut services: Vec<Service>,
    ) -> Result<Route, ResolveError> {
        services.sort_by_key(|service| (service.priority, Reverse(service.weight)));
        let mut endpoints = Vec::new();
        let mut failure = ResolveError::NoAddress;
        let offered = services.iter().filter(|service| !service.target.is_empty());
        for service in offered.take(ENDPOINTS_MAX) {
            match self
                .dns
                .endpoint_at(host, &service.target, service.port)
                .await
            {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => failure = error,
            }
        }
        if endpoints.is_empty() {
            return Err(failure);
        }
        Ok(Route {
            host_header: host.to_owned(),
            endpoints,
        })
    }
}

/// Whether a name needs neither delegation nor service records.
fn decides_alone(server: &ServerName) -> bool {
    server.is_ip_literal() || server.port().is_some()
}

#[cfg(test)]
mod tests;
