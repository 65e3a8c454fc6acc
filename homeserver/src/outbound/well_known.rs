//! Delegation by `/.well-known/matrix/server`.
//!
//! Invariant: at most [`REDIRECTS_MAX`] redirects are followed, each over HTTPS to checked addresses, and at most
//! [`WELL_KNOWN_BYTES_MAX`] are read. A document that cannot be had or read is no delegation, and that is remembered too.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver>

use std::{fmt::Debug, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{StatusCode, header};
use passeur_protocol::{
    limits::WELL_KNOWN_BYTES_MAX,
    well_known::{delegation, max_age},
};
use quick_cache::sync::Cache;
use reqwest::Url;
use ruma::OwnedServerName;

use super::{
    RemoteError,
    deny_list::{CheckedDns, Endpoint},
    https::path_and_query,
    transport::{Bounds, Pending},
};
use crate::clock::{Clock, within};

/// Most redirects that are followed.
const REDIRECTS_MAX: usize = 5;

/// Longest wait for the document, redirects included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Hosts whose documents are remembered.
const DOCUMENTS_MAX: usize = 2000;

/// How long a document is believed that does not say itself.
const TTL_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// How long a document is believed at most, whatever it says.
const TTL_MAX: Duration = Duration::from_secs(48 * 3600);

/// How long a document is believed at least.
const TTL_MIN: Duration = Duration::from_secs(300);

/// How long the lack of a document is believed.
const TTL_NONE: Duration = Duration::from_secs(3600);

/// How long it is believed that a host does not answer.
const TTL_UNREACHABLE: Duration = Duration::from_secs(300);

/// Fetches documents over HTTPS.
pub trait Web: Debug + Send + Sync + 'static {
    /// One `GET` of a path at an endpoint, without following redirects.
    fn get<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
        bounds: Bounds,
    ) -> Pending<'a, Result<http::Response<Bytes>, RemoteError>>;
}

/// What is known of a host's delegation, and until when on the monotonic clock.
#[derive(Clone, Debug)]
struct Known {
    delegated: Option<OwnedServerName>,
    until: Duration,
}

/// Fetches and remembers delegations.
#[derive(Debug)]
pub(super) struct WellKnown {
    dns: CheckedDns,
    web: Arc<dyn Web>,
    clock: Arc<dyn Clock>,
    known: Cache<String, Known>,
}

impl WellKnown {
    pub(super) fn new(dns: CheckedDns, web: Arc<dyn Web>, clock: Arc<dyn Clock>) -> Self {
        Self {
            dns,
            web,
            clock,
            known: Cache::new(DOCUMENTS_MAX),
        }
    }

    /// To whom `host` delegates, if to anyone.
    pub(super) async fn lookup(&self, host: &str) -> Option<OwnedServerName> {
        let now = self.clock.monotonic();
        if let Some(known) = self.known.get(host)
            && now < known.until
        {
            return known.delegated;
        }
        let fetched = within(&*self.clock, TIMEOUT, self.fetch(host)).await;
        let (delegated, ttl) = match fetched {
            Ok(Ok(document)) => {
                read(&document).map_or((None, TTL_NONE), |(delegated, ttl)| (Some(delegated), ttl))
            }
            Ok(Err(_)) | Err(_) => (None, TTL_UNREACHABLE),
        };
        let known = Known {
            delegated: delegated.clone(),
            until: now.saturating_add(ttl),
        };
        self.known.insert(host.to_owned(), known);
        delegated
    }

    async fn fetch(&self, host: &str) -> Result<http::Response<Bytes>, RemoteError> {
        let mut url = Url::parse(&format!("https://{host}/.well-known/matrix/server"))
            .map_err(|_| RemoteError::Request)?;
        for _ in 0..=REDIRECTS_MAX {
            let host = url.host_str().ok_or(RemoteError::Malformed)?;
            let port = url.port_or_known_default().ok_or(RemoteError::Malformed)?;
            let endpoint = self.dns.endpoint(host, port).await?;
            let path = path_and_query(&url);
            let bounds = Bounds {
                bytes_max: WELL_KNOWN_BYTES_MAX,
                timeout: TIMEOUT,
            };
            let response = self.web.get(&endpoint, &path, bounds).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = redirect_target(&url, &response).ok_or(RemoteError::Malformed)?;
        }
        Err(RemoteError::Malformed)
    }
}

/// Where a redirect leads; nowhere unless over HTTPS.
fn redirect_target(url: &Url, response: &http::Response<Bytes>) -> Option<Url> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    url.join(location)
        .ok()
        .filter(|url| url.scheme() == "https")
}

/// The delegation in a document, and how long to believe it.
fn read(response: &http::Response<Bytes>) -> Option<(OwnedServerName, Duration)> {
    if response.status() != StatusCode::OK {
        return None;
    }
    let delegated = delegation(response.body())?;
    let ttl = response
        .headers()
        .get(header::CACHE_CONTROL)
        .and_then(|value| value.to_str().ok())
        .and_then(max_age)
        .unwrap_or(TTL_DEFAULT);
    Some((delegated, ttl.clamp(TTL_MIN, TTL_MAX)))
}
