//! Requests over the network: the only place that connects to other servers.
//!
//! Invariant: a client connects to the addresses that it was made with and resolves nothing itself; it follows no redirect,
//! keeps no cookie, uses no proxy but the configured one, retries nothing and decompresses nothing. HTTP/1.1 only: a connection
//! carries one request at a time, which leaves a peer little to play with.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, header};
use quick_cache::sync::Cache;
use reqwest::{Client, Proxy, Url, redirect};
use ruma::ServerName;

use super::{
    OutboundError, RemoteError,
    deny_list::{CheckedDns, Endpoint},
    dns::Dns,
    server_name::ServerNames,
    tls,
    transport::{Bounds, Pending, Transport},
    well_known::Web,
};
use crate::{clock::Clock, config::FederationConfig};

/// Endpoints whose connections are kept.
const CLIENTS_MAX: usize = 500;

/// How long an idle connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Most headers of an answer.
const HEADERS_MAX: usize = 64;

/// Connections to endpoints, reused.
#[derive(Debug)]
struct Clients {
    tls: rustls::ClientConfig,
    connect_timeout: Duration,
    /// The proxy through which all connections go.
    proxy: Option<Proxy>,
    clients: Cache<Endpoint, Client>,
}

impl Clients {
    fn new(config: &FederationConfig) -> Result<Self, OutboundError> {
        Ok(Self {
            tls: tls::client_config(config)?,
            connect_timeout: config.connect_timeout(),
            proxy: match &config.proxy {
                Some(url) => Some(Proxy::all(url).map_err(|_| OutboundError::Proxy)?),
                None => None,
            },
            clients: Cache::new(CLIENTS_MAX),
        })
    }

    /// The client of an endpoint. Its addresses are part of the key: other addresses, another client.
    fn of(&self, endpoint: &Endpoint) -> Result<Client, RemoteError> {
        if let Some(client) = self.clients.get(endpoint) {
            return Ok(client);
        }
        let builder = Client::builder();
        let builder = match &self.proxy {
            // Either through the proxy or not at all.
            Some(proxy) => builder.proxy(proxy.clone()),
            None => builder
                .no_proxy()
                .resolve_to_addrs(&endpoint.host, &endpoint.socket_addresses()),
        };
        let client = builder
            .tls_backend_preconfigured(self.tls.clone())
            .dns_resolver(NoLookups)
            .https_only(true)
            .http1_only()
            .http1_max_headers(HEADERS_MAX)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .pool_idle_timeout(IDLE_MAX)
            .build()
            .map_err(|_| RemoteError::Request)?;
        self.clients.insert(endpoint.clone(), client.clone());
        Ok(client)
    }

    /// One request to one endpoint.
    async fn execute(
        &self,
        endpoint: &Endpoint,
        request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Result<http::Response<Bytes>, RemoteError> {
        let (parts, body) = request.into_parts();
        let path = parts
            .uri
            .path_and_query()
            .map(|path| path.as_str())
            .ok_or(RemoteError::Request)?;
        let url = Url::parse(&format!(
            "https://{}:{}{path}",
            endpoint.host, endpoint.port
        ))
        .map_err(|_| RemoteError::Request)?;
        // The URL type normalises: what it would change was signed otherwise, so it is not sent.
        if path_and_query(&url) != path {
            return Err(RemoteError::Request);
        }
        let mut outgoing = reqwest::Request::new(parts.method, url);
        *outgoing.headers_mut() = parts.headers;
        *outgoing.body_mut() = Some(body.into());
        *outgoing.timeout_mut() = Some(bounds.timeout);
        let response = self
            .of(endpoint)?
            .execute(outgoing)
            .await
            .map_err(|error| classify(&error))?;
        read(response, bounds.bytes_max).await
    }
}

/// What a URL says after host and port, as it goes over the wire.
pub(super) fn path_and_query(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Refuses to resolve: clients know their addresses.
struct NoLookups;

impl reqwest::dns::Resolve for NoLookups {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async { Err("no look-up was expected".into()) })
    }
}

/// Reads a body of at most `bytes_max`.
async fn read(
    mut response: reqwest::Response,
    bytes_max: usize,
) -> Result<http::Response<Bytes>, RemoteError> {
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).map_or(true, |length| length > bytes_max) {
        return Err(too_large(response.status()));
    }
    let mut answer = http::Response::new(());
    *answer.status_mut() = response.status();
    std::mem::swap(answer.headers_mut(), response.headers_mut());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error))? {
        if chunk.len() > bytes_max - body.len() {
            return Err(too_large(answer.status()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(answer.map(|()| body.freeze()))
}

/// An answer that is longer than allowed. A refusal is one at any length.
fn too_large(status: http::StatusCode) -> RemoteError {
    if status.is_success() {
        RemoteError::TooLarge
    } else {
        RemoteError::from_response(status, &[])
    }
}

/// What went wrong, without the texts of the library, which name the peer.
fn classify(error: &reqwest::Error) -> RemoteError {
    if error.is_timeout() && !error.is_connect() {
        RemoteError::Timeout
    } else if error.is_connect() {
        RemoteError::Connect
    } else if error.is_builder() {
        RemoteError::Request
    } else {
        RemoteError::Broken
    }
}

impl Web for Clients {
    fn get<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        path: &'a str,
        bounds: Bounds,
    ) -> Pending<'a, Result<http::Response<Bytes>, RemoteError>> {
        Box::pin(async move {
            let request = http::Request::get(path)
                .body(Bytes::new())
                .map_err(|_| RemoteError::Request)?;
            self.execute(endpoint, request, bounds).await
        })
    }
}

/// One way out: directly, or through the proxy that the configuration names.
#[derive(Debug)]
pub struct HttpsTransport {
    names: ServerNames,
    dns: CheckedDns,
    clients: Arc<Clients>,
}

impl HttpsTransport {
    /// A transport that asks `dns`.
    ///
    /// # Errors
    /// [`OutboundError`] if a CA file cannot be read, or TLS cannot be set up.
    pub fn with_dns(
        config: Arc<FederationConfig>,
        dns: Arc<dyn Dns>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OutboundError> {
        let clients = Arc::new(Clients::new(&config)?);
        let web: Arc<dyn Web> = Arc::clone(&clients) as Arc<dyn Web>;
        let dns = CheckedDns::new(dns, config);
        let names = ServerNames::new(dns.clone(), web, clock);
        Ok(Self {
            names,
            dns,
            clients,
        })
    }
}

impl Transport for HttpsTransport {
    fn request<'a>(
        &'a self,
        destination: &'a ServerName,
        mut request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Pending<'a, Result<http::Response<Bytes>, RemoteError>> {
        Box::pin(async move {
            let route = self.names.resolve(destination).await?;
            let host =
                HeaderValue::from_str(&route.host_header).map_err(|_| RemoteError::Request)?;
            request.headers_mut().insert(header::HOST, host);
            let mut failure = RemoteError::Connect;
            for endpoint in &route.endpoints {
                match self
                    .clients
                    .execute(endpoint, request.clone(), bounds)
                    .await
                {
                    // Nothing was sent: the next endpoint may be tried.
                    Err(RemoteError::Connect) => failure = RemoteError::Connect,
                    outcome => return outcome,
                }
            }
            self.names.forget(destination);
            Err(failure)
        })
    }

    fn web<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        request: http::Request<Bytes>,
        bounds: Bounds,
    ) -> Pending<'a, Result<http::Response<Bytes>, RemoteError>> {
        Box::pin(async move {
            let endpoint = self.dns.endpoint(host, port).await?;
            self.clients.execute(&endpoint, request, bounds).await
        })
    }
}

#[cfg(test)]
mod tests;
