//! Names to addresses and service records.
//!
//! Invariant: names are asked for as they are, never within the machine's search domains.

use std::{fmt::Debug, net::IpAddr};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData},
};

use super::{ResolveError, transport::Pending};

/// Most addresses of one name that are considered.
const ADDRESSES_MAX: usize = 16;

/// Most service records of one name that are considered.
const SERVICES_MAX: usize = 8;

/// Where a service is offered (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower is tried first.
    pub priority: u16,
    /// Among equal priorities, higher is tried first.
    pub weight: u16,
    /// The host, without a dot at its end; empty if the service is said not to be offered.
    pub target: String,
    /// The port.
    pub port: u16,
}

/// The domain name system, as far as federation needs it.
pub trait Dns: Debug + Send + Sync + 'static {
    /// The addresses of a host, of both families; none if it has none.
    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Result<Vec<IpAddr>, ResolveError>>;

    /// The service records of a name like `_matrix-fed._tcp.example.org`; none if it has none.
    fn services<'a>(&'a self, name: &'a str) -> Pending<'a, Result<Vec<Service>, ResolveError>>;
}

/// The machine's configured resolvers and its hosts file.
#[derive(Clone)]
pub struct SystemDns(TokioResolver);

impl Debug for SystemDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemDns")
    }
}

impl SystemDns {
    /// Reads the machine's configuration. Without one, only the hosts file and `localhost` resolve.
    ///
    /// # Errors
    /// [`ResolveError::Dns`] if the resolver cannot be set up.
    pub fn new() -> Result<Self, ResolveError> {
        let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
            TokioResolver::builder_with_config(
                ResolverConfig::default(),
                TokioRuntimeProvider::default(),
            )
        });
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let resolver = builder.build().map_err(|_| ResolveError::Dns)?;
        Ok(Self(resolver))
    }
}

/// The name as an absolute one, so that no search domain is tried.
fn absolute(name: &str) -> Result<Name, ResolveError> {
    let mut name = Name::from_ascii(name).map_err(|_| ResolveError::Dns)?;
    name.set_fqdn(true);
    Ok(name)
}

/// No records is an answer; anything else is a failure.
fn none_or_failed<T>(error: &NetError) -> Result<Vec<T>, ResolveError> {
    if error.is_no_records_found() || error.is_nx_domain() {
        Ok(Vec::new())
    } else {
        Err(ResolveError::Dns)
    }
}

impl Dns for SystemDns {
    fn addresses<'a>(&'a self, host: &'a str) -> Pending<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            match self.0.lookup_ip(absolute(host)?).await {
                Ok(found) => Ok(found.iter().take(ADDRESSES_MAX).collect()),
                Err(error) => none_or_failed(&error),
            }
        })
    }

    fn services<'a>(&'a self, name: &'a str) -> Pending<'a, Result<Vec<Service>, ResolveError>> {
        Box::pin(async move {
            let found = match self.0.srv_lookup(absolute(name)?).await {
                Ok(found) => found,
                Err(error) => return none_or_failed(&error),
            };
            let services = found
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(service) => Some(Service {
                        priority: service.priority,
                        weight: service.weight,
                        target: service.target.to_ascii().trim_end_matches('.').to_owned(),
                        port: service.port,
                    }),
                    _ => None,
                });
            Ok(services.take(SERVICES_MAX).collect())
        })
    }
}
