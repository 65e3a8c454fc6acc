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
use passeur_protocol::json::parse_object;
use ruma::{
    OwnedServerName, ServerName,
    api::{
        IncomingRequest,
        error::ErrorKind,
        federation::authentication::{ServerSignatures, XMatrix},
    },
};

use super::{
    decode::{BODY_BYTES_MAX, decode, path_arguments, read_body},
    error::ApiError,
};
use crate::{clock::Clock, config::FederationConfig, outbound::ServerKeys};

/// Longest `Authorization` header that is read, in bytes.
const HEADER_BYTES_MAX: usize = 2048;

/// Most `Authorization` headers of one request that are read: a server may sign with several keys.
const HEADERS_MAX: usize = 4;

/// What checking signatures needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OriginVerifier {
    keys: ServerKeys,
    config: Arc<FederationConfig>,
    clock: Arc<dyn Clock>,
}

impl OriginVerifier {
    /// Checks by the keys that `keys` knows or fetches.
    pub fn new(keys: ServerKeys, config: Arc<FederationConfig>, clock: Arc<dyn Clock>) -> Self {
        Self {
            keys,
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
        let claimed = claims(parts)?;
        let origin = claimed.first().map(|claim| claim.origin.clone());
        let origin = origin.ok_or_else(|| unauthorized("No signature of a server"))?;
        if !self.config.allows_server(&origin) || origin == self.own_name() {
            return Err(ApiError::forbidden(
                "Federation with this server is not allowed",
            ));
        }
        if claimed.iter().any(|claim| claim.origin != origin) {
            return Err(unauthorized("Signatures of different servers"));
        }
        let for_another = |claim: &XMatrix| {
            claim
                .destination
                .as_deref()
                .is_some_and(|destination| destination != self.own_name())
        };
        if claimed.iter().any(for_another) {
            return Err(unauthorized("The request is meant for another server"));
        }
        if !body.is_empty() {
            // Strictly: what two parsers could read differently is not signed JSON.
            parse_object(body, BODY_BYTES_MAX).map_err(|error| {
                if error.is_not_json() {
                    ApiError::not_json("The body is not JSON")
                } else {
                    ApiError::bad_json("The body is not canonical JSON")
                }
            })?;
        }
        self.check_signatures(parts, body, &origin, &claimed)
            .await?;
        Ok(origin)
    }

    fn own_name(&self) -> &ServerName {
        self.keys.own().server_name()
    }

    /// Succeeds if one of the claims is proven by a key of `origin` that is valid now.
    async fn check_signatures(
        &self,
        parts: &Parts,
        body: &Bytes,
        origin: &ServerName,
        claimed: &[XMatrix],
    ) -> Result<(), ApiError> {
        let ids = claimed.iter().map(|claim| claim.key.clone()).collect();
        let wanted = BTreeMap::from([(origin.to_owned(), ids)]);
        let now = self.clock.timestamp();
        let keys = self.keys.keys_for(&wanted, Some(now)).await?;
        let mut request = http::Request::new(body.as_ref());
        request.method_mut().clone_from(&parts.method);
        request.uri_mut().clone_from(&parts.uri);
        let proven = claimed.iter().any(|claim| {
            claim
                .verify_http_request(&request, self.own_name(), &keys)
                .is_ok()
        });
        if proven {
            Ok(())
        } else {
            Err(unauthorized("The signature does not verify"))
        }
    }
}

/// The `X-Matrix` headers of a request.
fn claims(parts: &Parts) -> Result<Vec<XMatrix>, ApiError> {
    let headers = parts.headers.get_all(header::AUTHORIZATION);
    let mut claims = Vec::new();
    for value in headers.iter().take(HEADERS_MAX) {
        if value.len() > HEADER_BYTES_MAX {
            return Err(unauthorized("The signature is malformed"));
        }
        let claim =
            XMatrix::try_from(value).map_err(|_| unauthorized("The signature is malformed"))?;
        claims.push(claim);
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
        let (mut parts, body) = request.into_parts();
        let arguments = path_arguments(&mut parts, state).await?;
        let body = read_body(body, BODY_BYTES_MAX).await?;
        let origin = OriginVerifier::from_ref(state)
            .verify(&parts, &body)
            .await?;
        let request = decode(parts, body, &arguments)?;
        Ok(Self { origin, request })
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
        let body = read_body(body, BODY_BYTES_MAX).await?;
        let origin = OriginVerifier::from_ref(state)
            .verify(&parts, &body)
            .await?;
        Ok(Self { origin, body })
    }
}

#[cfg(test)]
mod tests;
