//! The signature of a request from another server, to the server that made it.
//!
//! Invariant: whoever holds a [`Signed`] has a request that its origin signed, for this server, with this method, path, query
//! and body, by a key that is valid now. What the body says of its origin is checked by the endpoint.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#request-authentication>

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::{FromRef, FromRequest, Request};
use bytes::Bytes;
use http::{StatusCode, header, request::Parts};
use passeur_protocol::{
    json::{canonical_body, check_peer_json},
    limits::TRANSACTION_BYTES_MAX,
    x_matrix::{self, SignedRequest},
};
use ruma::{
    OwnedServerName, ServerName,
    api::{
        IncomingRequest,
        error::ErrorKind,
        federation::authentication::{ServerSignatures, XMatrix},
    },
};

use super::{
    decode::{decode, path_arguments, read_body},
    error::ApiError,
};
use crate::{
    clock::Clock,
    config::FederationConfig,
    outbound::{Sender, ServerKeys},
};

/// Most `Authorization` headers of one request that are read: a server may sign with several keys.
const HEADERS_MAX: usize = 4;

/// What checking signatures needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OriginVerifier {
    keys: ServerKeys,
    sender: Sender,
    config: Arc<FederationConfig>,
    clock: Arc<dyn Clock>,
}

impl OriginVerifier {
    /// Checks by the keys that `keys` knows or fetches, and tells `sender` who showed life.
    pub fn new(
        keys: ServerKeys,
        sender: Sender,
        config: Arc<FederationConfig>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            keys,
            sender,
            config,
            clock,
        }
    }

    /// Who signed the request.
    ///
    /// # Errors
    /// 401 `M_UNAUTHORIZED` if nobody did, for us, in a way that can be verified; 403 `M_FORBIDDEN` if the configuration
    /// does not allow the server that did.
    pub async fn verify(&self, parts: &Parts, body: &Bytes) -> Result<OwnedServerName, ApiError> {
        let claimed = claims(parts, self.own_name())?;
        let origin = claimed.first().map(|claim| claim.origin.clone());
        let origin = origin.ok_or_else(|| unauthorized("No signature of a server"))?;
        if !self.config.allows_server(&origin) || origin == self.own_name() {
            let message = "Federation with this server is not allowed";
            return Err(ApiError::forbidden(message));
        }
        if claimed.iter().any(|claim| claim.origin != origin) {
            return Err(unauthorized("Signatures of different servers"));
        }
        // What two parsers could read differently is not signed JSON. Beyond that the pieces of a body are read strictly
        // where they are used: one that does not hold must not keep back the others.
        let signed = match body.is_empty() {
            true => None,
            false => {
                Some(canonical_body(body, TRANSACTION_BYTES_MAX).map_err(ApiError::from_json)?)
            }
        };
        self.check_signatures(parts, signed.as_deref(), &origin, &claimed)
            .await?;
        self.sender.peer_is_alive(&origin);
        Ok(origin)
    }

    fn own_name(&self) -> &ServerName {
        self.keys.own().server_name()
    }

    /// Succeeds if one of the claims is proven by a key of `origin` that is valid now.
    async fn check_signatures(
        &self,
        parts: &Parts,
        body: Option<&[u8]>,
        origin: &ServerName,
        claimed: &[XMatrix],
    ) -> Result<(), ApiError> {
        let ids = claimed.iter().map(|claim| claim.key.clone()).collect();
        let wanted = BTreeMap::from([(origin.to_owned(), ids)]);
        let now = self.clock.timestamp();
        let keys = self.keys.keys_for(&wanted, Some(now)).await?;
        let uri = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = SignedRequest {
            method: parts.method.as_str(),
            uri,
            origin,
            destination: self.own_name(),
            body: body.map_or(x_matrix::Body::Empty, x_matrix::Body::Canonical),
        };
        let proven = claimed
            .iter()
            .any(|claim| request.verify(claim, &keys).is_ok());
        if proven {
            Ok(())
        } else {
            Err(unauthorized("The signature does not verify"))
        }
    }
}

/// The `X-Matrix` headers of a request that is meant for `us`.
fn claims(parts: &Parts, us: &ServerName) -> Result<Vec<XMatrix>, ApiError> {
    let headers = parts.headers.get_all(header::AUTHORIZATION);
    let mut claims = Vec::new();
    for value in headers.iter().take(HEADERS_MAX) {
        let claim = value
            .to_str()
            .ok()
            .and_then(|value| x_matrix::parse_for(value, us).ok());
        claims
            .push(claim.ok_or_else(|| unauthorized("The signature is malformed, or not for us"))?);
    }
    Ok(claims)
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, ErrorKind::Unauthorized, message)
}

/// A request that another server signed: the extractor of every endpoint that needs to know who asks.
#[derive(Clone, Debug)]
pub struct Signed<T> {
    /// Who signed it.
    pub origin: OwnedServerName,
    /// The request, decoded.
    pub request: T,
}

impl<S, T> FromRequest<S> for Signed<T>
where
    S: Send + Sync,
    OriginVerifier: FromRef<S>,
    T: IncomingRequest<Authentication = ServerSignatures>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let read = Read::from_request(request, state).await?;
        check_whole(&read.body)?;
        read.decode()
    }
}

/// A request whose signature holds, before it is decoded.
struct Read {
    origin: OwnedServerName,
    parts: Parts,
    arguments: Vec<String>,
    body: Bytes,
}

impl Read {
    async fn from_request<S>(request: Request, state: &S) -> Result<Self, ApiError>
    where
        S: Send + Sync,
        OriginVerifier: FromRef<S>,
    {
        let (mut parts, body) = request.into_parts();
        let arguments = path_arguments(&mut parts, state).await?;
        let body = read_body(body, TRANSACTION_BYTES_MAX).await?;
        let verifier = OriginVerifier::from_ref(state);
        let origin = verifier.verify(&parts, &body).await?;
        Ok(Self {
            origin,
            parts,
            arguments,
            body,
        })
    }

    fn decode<T: IncomingRequest>(self) -> Result<Signed<T>, ApiError> {
        let request = decode(self.parts, self.body, &self.arguments)?;
        Ok(Signed {
            origin: self.origin,
            request,
        })
    }
}

/// A signed request whose pieces are judged one by one: one that is nested too deeply to be read stops no other.
#[derive(Clone, Debug)]
pub struct SignedPieces<T>(pub Signed<T>);

impl<S, T> FromRequest<S> for SignedPieces<T>
where
    S: Send + Sync,
    OriginVerifier: FromRef<S>,
    T: IncomingRequest<Authentication = ServerSignatures>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let read = Read::from_request(request, state).await?;
        read.decode().map(Self)
    }
}

/// The server that signed a request of no type in ruma, and its body.
#[derive(Clone, Debug)]
pub struct SignedBytes {
    /// Who signed it.
    pub origin: OwnedServerName,
    /// The body, read strictly if there is one.
    pub body: Bytes,
}

impl<S> FromRequest<S> for SignedBytes
where
    S: Send + Sync,
    OriginVerifier: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let body = read_body(body, TRANSACTION_BYTES_MAX).await?;
        let origin = OriginVerifier::from_ref(state)
            .verify(&parts, &body)
            .await?;
        check_whole(&body)?;
        Ok(Self { origin, body })
    }
}

/// Refuses a body that is nested more deeply than what we keep of it may be.
fn check_whole(body: &Bytes) -> Result<(), ApiError> {
    if body.is_empty() {
        return Ok(());
    }
    check_peer_json(body, TRANSACTION_BYTES_MAX).map_err(ApiError::from_json)
}

#[cfg(test)]
mod tests;
