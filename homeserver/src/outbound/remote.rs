//! Requests to other servers: typed, signed, bounded in time and size.
//!
//! Invariant: no other code speaks to another server. A server that the configuration does not allow is not spoken with; no
//! wait is longer than its [`Bounds`] say, and no lock or transaction may be held over one.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

use std::{fmt::Debug, sync::Arc};

use bytes::Bytes;
use http::{Request, Uri};
use ruma::{
    OwnedServerName, ServerName,
    api::{
        IncomingResponseExt, OutgoingRequest, OutgoingRequestExt,
        auth_scheme::NoAuthentication,
        federation::authentication::{ServerSignatures, XMatrix, XMatrixSigningInput},
        path_builder::SinglePath,
    },
    signatures::Ed25519KeyPair,
};

use super::{
    RemoteError,
    transport::{Bounds, Transport},
};
use crate::{
    clock::{Clock, within},
    config::FederationConfig,
};

/// What stands before the path while ruma builds a request; the transport knows where to connect.
const NOWHERE: &str = "https://peer.invalid";

/// Where HTTPS is served, unless another port is named.
const HTTPS_PORT: u16 = 443;

/// The way to other servers.
#[derive(Clone)]
pub struct Remote {
    server_name: OwnedServerName,
    key_pair: Arc<Ed25519KeyPair>,
    config: Arc<FederationConfig>,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
}

impl Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// Requests in the name of `server_name`, signed with `key_pair`, over `transport`.
    pub fn new(
        server_name: OwnedServerName,
        key_pair: Arc<Ed25519KeyPair>,
        config: Arc<FederationConfig>,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            server_name,
            key_pair,
            config,
            transport,
            clock,
        }
    }

    /// In whose name the requests are made.
    #[must_use]
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// The limits for large answers, with the configured timeout.
    #[must_use]
    pub fn large(&self) -> Bounds {
        Bounds::large(self.config.request_timeout())
    }

    /// Makes a signed request and reads its answer.
    ///
    /// # Errors
    /// Any [`RemoteError`].
    pub async fn call<T>(
        &self,
        destination: &ServerName,
        request: T,
        bounds: Bounds,
    ) -> Result<T::IncomingResponse, RemoteError>
    where
        T: OutgoingRequest<Authentication = ServerSignatures, PathBuilder = SinglePath>,
    {
        let request = self.signed(destination, request)?;
        let response = self.exchange(destination, request, bounds).await?;
        decode::<T>(&response)
    }

    /// Makes a signed request of which nothing matters but that it was answered with success.
    ///
    /// # Errors
    /// Any [`RemoteError`] but [`RemoteError::Malformed`] and [`RemoteError::TooLarge`].
    pub async fn tell<T>(
        &self,
        destination: &ServerName,
        request: T,
        bounds: Bounds,
    ) -> Result<(), RemoteError>
    where
        T: OutgoingRequest<Authentication = ServerSignatures, PathBuilder = SinglePath>,
    {
        let request = self.signed(destination, request)?;
        match self.exchange(destination, request, bounds).await {
            Ok(_) | Err(RemoteError::TooLarge) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn signed<T>(
        &self,
        destination: &ServerName,
        request: T,
    ) -> Result<Request<Vec<u8>>, RemoteError>
    where
        T: OutgoingRequest<Authentication = ServerSignatures, PathBuilder = SinglePath>,
    {
        let signing = XMatrixSigningInput::new(
            self.server_name.clone(),
            destination.to_owned(),
            &self.key_pair,
        );
        request
            .try_into_http_request::<Vec<u8>>(NOWHERE, signing, ())
            .map_err(|_| RemoteError::Request)
    }

    /// Makes a request that needs no signature: keys and versions.
    ///
    /// # Errors
    /// Any [`RemoteError`].
    pub async fn call_unsigned<T>(
        &self,
        destination: &ServerName,
        request: T,
        bounds: Bounds,
    ) -> Result<T::IncomingResponse, RemoteError>
    where
        T: OutgoingRequest<Authentication = NoAuthentication, PathBuilder = SinglePath>,
    {
        let request = request
            .try_into_http_request::<Vec<u8>>(NOWHERE, (), ())
            .map_err(|_| RemoteError::Request)?;
        let response = self.exchange(destination, request, bounds).await?;
        decode::<T>(&response)
    }

    /// Makes a signed request that ruma has no type for. `path` begins with a slash and may have a query.
    ///
    /// # Errors
    /// Any [`RemoteError`]; a status other than success among them.
    pub async fn call_raw(
        &self,
        destination: &ServerName,
        method: http::Method,
        path: &str,
        body: Vec<u8>,
        bounds: Bounds,
    ) -> Result<http::Response<Bytes>, RemoteError> {
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(body).map_err(|_| RemoteError::Request)?;
        let signing = XMatrixSigningInput::new(
            self.server_name.clone(),
            destination.to_owned(),
            &self.key_pair,
        );
        let signature =
            XMatrix::sign_http_request(&request, signing).map_err(|_| RemoteError::Request)?;
        request
            .headers_mut()
            .insert(http::header::AUTHORIZATION, (&signature).into());
        self.exchange(destination, request, bounds).await
    }

    /// Fetches what another server points to: over HTTPS, from an address that other servers may have, without a word of who
    /// asks. No redirect is followed.
    ///
    /// # Errors
    /// Any [`RemoteError`]; a status other than success among them.
    pub async fn fetch_web(
        &self,
        url: &str,
        bounds: Bounds,
    ) -> Result<http::Response<Bytes>, RemoteError> {
        let url: Uri = url.parse().map_err(|_| RemoteError::Request)?;
        let (Some("https"), Some(authority)) = (url.scheme_str(), url.authority()) else {
            return Err(RemoteError::Request);
        };
        if !self.config.enabled {
            return Err(RemoteError::NotAllowed);
        }
        let port = authority.port_u16().unwrap_or(HTTPS_PORT);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path).body(Bytes::new());
        let request = request.map_err(|_| RemoteError::Request)?;
        let answer = self.transport.web(authority.host(), port, request, bounds);
        let response = within(&*self.clock, bounds.timeout, answer)
            .await
            .map_err(|_| RemoteError::Timeout)??;
        success(response, bounds)
    }

    /// Sends what is built and signed, and reads an answer of success.
    async fn exchange(
        &self,
        destination: &ServerName,
        request: Request<Vec<u8>>,
        bounds: Bounds,
    ) -> Result<http::Response<Bytes>, RemoteError> {
        if !self.config.allows_server(destination) || destination == self.server_name {
            return Err(RemoteError::NotAllowed);
        }
        let request = relative(request)?;
        let answer = self.transport.request(destination, request, bounds);
        let response = within(&*self.clock, bounds.timeout, answer)
            .await
            .map_err(|_| RemoteError::Timeout)??;
        success(response, bounds)
    }
}

/// An answer of success, within its bounds.
fn success(
    response: http::Response<Bytes>,
    bounds: Bounds,
) -> Result<http::Response<Bytes>, RemoteError> {
    let status = response.status();
    let is_too_large = response.body().len() > bounds.bytes_max;
    match (status.is_success(), is_too_large) {
        (true, false) => Ok(response),
        (true, true) => Err(RemoteError::TooLarge),
        (false, false) => Err(RemoteError::from_response(status, response.body())),
        (false, true) => Err(RemoteError::from_response(status, &[])),
    }
}

/// The same request with its URI reduced to path and query.
fn relative(request: Request<Vec<u8>>) -> Result<Request<Bytes>, RemoteError> {
    let (mut parts, body) = request.into_parts();
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .ok_or(RemoteError::Request)?;
    parts.uri = http::Uri::from(path);
    Ok(Request::from_parts(parts, body.into()))
}

/// Reads an answer of success as the type that belongs to the request.
fn decode<T: OutgoingRequest>(
    response: &http::Response<Bytes>,
) -> Result<T::IncomingResponse, RemoteError> {
    let mut borrowed = http::Response::new(response.body().as_ref());
    *borrowed.status_mut() = response.status();
    borrowed.headers_mut().clone_from(response.headers());
    T::IncomingResponse::try_from_http_response(borrowed).map_err(|_| RemoteError::Malformed)
}

#[cfg(test)]
mod tests;
