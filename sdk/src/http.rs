//! Everything that goes over the wire, and the only file that knows the HTTP library.
//!
//! Invariant: every request has a deadline and every answer a bound in bytes; redirects are never
//! followed (a token must not reach another host), and plain HTTP is for loopback and onion hosts.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#api-standards>

use std::{
    borrow::Cow,
    sync::{Arc, RwLock},
    time::Duration,
};

use reqwest::{StatusCode, Url, header};
use ruma::api::{
    IncomingResponseExt, OutgoingRequest, OutgoingRequestExt, SupportedVersions,
    auth_scheme::{AuthScheme, SendAccessToken},
    client::discovery::get_supported_versions,
    path_builder::VersionHistory,
};
use rustls_pki_types::CertificateDer;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

mod error;
mod tls;

pub use error::{HttpError, HttpSetupError};

/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an ordinary request may take, its answer included.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest JSON answer taken, in bytes; an initial sync of a large account is the largest.
pub(crate) const JSON_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The largest frame taken from a WebSocket, in bytes.
const FRAME_BYTES_MAX: usize = JSON_BYTES_MAX;

/// A WebSocket over whatever the connection runs through: TLS, a proxy, or neither.
pub(crate) type Socket = WebSocketStream<reqwest::Upgraded>;

/// Is told how many bytes of an answer have come, and how many there will be, if the server said.
pub(crate) type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Send + Sync);

/// What a connection to a homeserver needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpConfig {
    /// Base URL of the homeserver, e.g. `https://matrix.example.org`.
    pub(crate) homeserver: String,
    /// Root certificates trusted besides the system's, in DER.
    pub(crate) extra_roots: Vec<CertificateDer<'static>>,
    /// Whether the extra roots replace the system's.
    pub(crate) only_extra_roots: bool,
    /// If there are any, the server must show one of these certificates, and roots do not matter.
    pub(crate) pinned: Vec<CertificateDer<'static>>,
    /// `socks5h://host:port`: names are resolved by the proxy, never here.
    pub(crate) socks_proxy: Option<String>,
}

/// A request of the client-server API, as ruma defines them.
pub trait ClientRequest:
    OutgoingRequest<
        PathBuilder = VersionHistory,
        EndpointError: Into<HttpError>,
        Authentication: for<'a> AuthScheme<Input<'a> = SendAccessToken<'a>>,
    >
{
}

impl<T> ClientRequest for T where
    T: OutgoingRequest<
            PathBuilder = VersionHistory,
            EndpointError: Into<HttpError>,
            Authentication: for<'a> AuthScheme<Input<'a> = SendAccessToken<'a>>,
        >
{
}

/// The connection to one homeserver.
#[derive(Debug)]
pub(crate) struct HttpClient {
    /// Without a trailing slash.
    base: String,
    /// For everything but upgrades.
    client: reqwest::Client,
    /// HTTP/1.1 only, because a WebSocket starts as an HTTP/1.1 upgrade.
    upgrade_client: reqwest::Client,
    /// What the server said it speaks; a modern default until it was asked.
    supported: RwLock<Arc<SupportedVersions>>,
}

impl HttpClient {
    /// Prepares the connection; nothing is sent yet.
    pub(crate) fn new(config: &HttpConfig) -> Result<Self, HttpSetupError> {
        let base = check_base_url(config)?;
        let tls = tls::client_config(config, base.scheme() == "https")?;
        let build = |mut builder: reqwest::ClientBuilder, alpn: &[&[u8]]| {
            let mut tls = tls.clone();
            tls.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
            builder = builder
                .tls_backend_preconfigured(tls)
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .no_proxy();
            if let Some(proxy) = &config.socks_proxy {
                let proxy = reqwest::Proxy::all(proxy).map_err(|_| HttpSetupError::Proxy)?;
                builder = builder.proxy(proxy);
            }
            builder.build().map_err(|_| HttpSetupError::Client)
        };
        Ok(Self {
            base: base.as_str().trim_end_matches('/').to_owned(),
            client: build(reqwest::Client::builder(), &[b"h2", b"http/1.1"])?,
            upgrade_client: build(reqwest::Client::builder().http1_only(), &[b"http/1.1"])?,
            supported: RwLock::new(Arc::new(SupportedVersions::from_parts(
                &["v1.1".to_owned(), "v1.11".to_owned()],
                &Default::default(),
            ))),
        })
    }

    /// What the server supports, as far as it was asked.
    pub(crate) fn supported(&self) -> Arc<SupportedVersions> {
        match self.supported.read() {
            Ok(supported) => supported.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Asks the server what it supports, and remembers the answer.
    pub(crate) async fn discover(&self, token: Option<&str>) -> Result<(), HttpError> {
        let request = get_supported_versions::Request::new()
            .try_into_http_request::<Vec<u8>>(&self.base, access(token), ())
            .map_err(|_| HttpError::Request)?;
        let answer = self
            .exchange(request, (REQUEST_TIMEOUT, JSON_BYTES_MAX), &|_, _| {})
            .await?;
        let answer = get_supported_versions::Response::try_from_http_response(borrowed(&answer))
            .map_err(|error| HttpError::from_ruma(error, &answer))?;
        let supported = Arc::new(answer.as_supported_versions());
        match self.supported.write() {
            Ok(mut slot) => *slot = supported,
            Err(poisoned) => *poisoned.into_inner() = supported,
        }
        Ok(())
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn send<R: ClientRequest>(
        &self,
        request: R,
        token: Option<&str>,
        timeout: Duration,
        answer_bytes_max: usize,
    ) -> Result<R::IncomingResponse, HttpError> {
        let bounds = (timeout, answer_bytes_max);
        self.send_observed(request, token, bounds, &|_, _| {}).await
    }

    /// The same while somebody watches the answer come.
    pub(crate) async fn send_observed<R: ClientRequest>(
        &self,
        request: R,
        token: Option<&str>,
        bounds: (Duration, usize),
        progress: Progress<'_>,
    ) -> Result<R::IncomingResponse, HttpError> {
        let supported = self.supported();
        let request = request
            .try_into_http_request::<Vec<u8>>(&self.base, access(token), Cow::Borrowed(&*supported))
            .map_err(|_| HttpError::Request)?;
        let answer = self.exchange(request, bounds, progress).await?;
        R::IncomingResponse::try_from_http_response(borrowed(&answer))
            .map_err(|error| HttpError::from_ruma(error, &answer))
    }

    /// Sends bytes, reads bytes: within `timeout`, at most `answer_bytes_max`.
    async fn exchange(
        &self,
        request: http::Request<Vec<u8>>,
        (timeout, answer_bytes_max): (Duration, usize),
        progress: Progress<'_>,
    ) -> Result<http::Response<Vec<u8>>, HttpError> {
        let mut request = reqwest::Request::try_from(request).map_err(|_| HttpError::Request)?;
        *request.timeout_mut() = Some(timeout);
        let mut answer = self
            .client
            .execute(request)
            .await
            .map_err(|error| HttpError::from_transport(&error))?;
        let too_large = |length: usize| length > answer_bytes_max;
        let total = answer.content_length();
        let announced = total.unwrap_or(0);
        if too_large(usize::try_from(announced).unwrap_or(usize::MAX)) {
            return Err(HttpError::TooLarge {
                bytes_max: answer_bytes_max,
            });
        }
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| HttpError::from_transport(&error))?
        {
            if too_large(body.len() + chunk.len()) {
                return Err(HttpError::TooLarge {
                    bytes_max: answer_bytes_max,
                });
            }
            body.extend_from_slice(&chunk);
            progress(body.len() as u64, total);
        }
        let mut whole = http::Response::new(body);
        *whole.status_mut() = answer.status();
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(whole)
    }

    /// Opens a WebSocket at `path_and_query`, authenticated by the `Authorization` header.
    pub(crate) async fn open_socket(
        &self,
        path_and_query: &str,
        token: &str,
    ) -> Result<Socket, HttpError> {
        let key = generate_key();
        let answer = self
            .upgrade_client
            .get(format!("{}{path_and_query}", self.base))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .bearer_auth(token)
            .send();
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, answer)
            .await
            .map_err(|_| HttpError::Unreachable)?
            .map_err(|error| HttpError::from_transport(&error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.refusal(answer).await);
        }
        let accepted = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accepted
            .is_none_or(|value| value.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
        {
            return Err(HttpError::BadAnswer);
        }
        let upgraded = answer
            .upgrade()
            .await
            .map_err(|error| HttpError::from_transport(&error))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
    }

    /// Reads why an upgrade was refused.
    async fn refusal(&self, mut answer: reqwest::Response) -> HttpError {
        /// Error answers are short; more than this is not one.
        const REFUSAL_BYTES_MAX: usize = 64 * 1024;
        let status = answer.status();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            if body.len() + chunk.len() > REFUSAL_BYTES_MAX {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        if status.as_u16() < 400 {
            return HttpError::BadAnswer;
        }
        let mut whole = http::Response::new(body);
        *whole.status_mut() = status;
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        HttpError::from_answer(&whole)
    }
}

fn access(token: Option<&str>) -> SendAccessToken<'_> {
    token.map_or(SendAccessToken::None, SendAccessToken::IfRequired)
}

fn borrowed(answer: &http::Response<Vec<u8>>) -> http::Response<&[u8]> {
    let mut view = http::Response::new(answer.body().as_slice());
    *view.status_mut() = answer.status();
    *view.headers_mut() = answer.headers().clone();
    view
}

/// The base URL, if its scheme suits its host.
fn check_base_url(config: &HttpConfig) -> Result<Url, HttpSetupError> {
    let url = Url::parse(&config.homeserver).map_err(|_| HttpSetupError::Homeserver)?;
    let host = url.host_str().ok_or(HttpSetupError::Homeserver)?;
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return Err(HttpSetupError::Homeserver);
    }
    if let Some(proxy) = &config.socks_proxy
        && !proxy.starts_with("socks5h://")
    {
        return Err(HttpSetupError::Proxy);
    }
    // A hidden service authenticates and encrypts by itself, but only through the proxy.
    let onion = host.ends_with(".onion") && config.socks_proxy.is_some();
    let bare_host = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost"
        || bare_host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback || onion => Ok(url),
        "http" => Err(HttpSetupError::PlainHttp),
        _ => Err(HttpSetupError::Homeserver),
    }
}

#[cfg(test)]
mod tests;
