//! Two ways out: through the proxy for those who are chosen, directly for all others.
//!
//! Invariant: which way a server is reached, its name alone decides; what fails on one way is never tried on the other.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names>

use std::sync::Arc;

use bytes::Bytes;
use ruma::ServerName;

use super::{
    Dns, HttpsTransport, OutboundError, RemoteError, SystemDns,
    transport::{Bounds, Pending, Transport},
};
use crate::{clock::Clock, config::FederationConfig};

/// The transport of a running server.
#[derive(Debug)]
pub struct SplitTransport {
    config: Arc<FederationConfig>,
    /// For those who are reached as the configuration says: through the proxy, if there is one.
    main: HttpsTransport,
    /// For the rest, if only some are reached through the proxy.
    direct: Option<HttpsTransport>,
}

impl SplitTransport {
    /// A transport that asks the machine's resolvers.
    ///
    /// # Errors
    /// [`OutboundError`] if a CA file cannot be read, or TLS or the resolver cannot be set up.
    pub fn new(
        config: Arc<FederationConfig>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OutboundError> {
        let dns = SystemDns::new().map_err(|_| OutboundError::Dns)?;
        Self::with_dns(config, Arc::new(dns), clock)
    }

    /// A transport that asks `dns`.
    ///
    /// # Errors
    /// As [`SplitTransport::new`].
    pub fn with_dns(
        config: Arc<FederationConfig>,
        dns: Arc<dyn Dns>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OutboundError> {
        let direct = match (&config.proxy, &config.proxied_servers) {
            (Some(_), Some(_)) => {
                let without = FederationConfig {
                    proxy: None,
                    proxied_servers: None,
                    ..(*config).clone()
                };
                let (dns, clock) = (Arc::clone(&dns), Arc::clone(&clock));
                Some(HttpsTransport::with_dns(Arc::new(without), dns, clock)?)
            }
            _ => None,
        };
        Ok(Self {
            main: HttpsTransport::with_dns(Arc::clone(&config), dns, clock)?,
            config,
            direct,
        })
    }

    fn way_to(&self, host: &str) -> &HttpsTransport {
        match &self.direct {
            Some(direct) if !self.config.is_proxied(host) => direct,
            _ => &self.main,
        }
    }
}

impl Transport for SplitTransport {
    fn request<'a>(
        &'a self,
        destination: &'a ServerName,
        request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Pending<'a, Result<http::Response<Bytes>, RemoteError>> {
        let way = self.way_to(destination.host());
        way.request(destination, request, bounds)
    }

    fn web<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Pending<'a, Result<http::Response<Bytes>, RemoteError>> {
        self.way_to(host).web(host, port, request, bounds)
    }
}
