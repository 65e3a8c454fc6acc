//! The limits as a layer around the routes.
//!
//! Invariant: a request that shows no token is counted before it reaches a handler; one that does carries its [`Admission`], and is
//! counted when the token has been checked, by its user or, if the check fails, by its address.

use std::{net::Ipv4Addr, sync::Arc};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::header;
use ruma::UserId;

use super::{RateLimiter, class::class_of};
use crate::{
    config::RateClass,
    http::{error::ApiError, peer::Peer},
};

/// A request's admission, in its extensions: what remains to be counted once it is known who asks.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The limits.
    limiter: Arc<RateLimiter>,
    /// What kind of request it is.
    class: RateClass,
    /// Where it came from.
    peer: Peer,
    /// Whether the address was charged already, so that the user is not.
    charged: bool,
}

impl Admission {
    /// Counts the request of an authenticated user, unless it was counted by address.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED`.
    pub fn charge_user(&self, user: &UserId) -> Result<(), ApiError> {
        if self.charged {
            Ok(())
        } else {
            self.limiter.check_user(self.class, user)
        }
    }

    /// Counts an event that a user sends in the course of this request, as one sent by a request
    /// of its own.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED`.
    pub fn charge_message(&self, user: &UserId) -> Result<(), ApiError> {
        self.limiter.check_user(RateClass::Message, user)
    }

    /// Counts a proof that failed (a token, a password) against the address it came from.
    ///
    /// # Errors
    /// 429 `M_LIMIT_EXCEEDED`, which is to be answered instead of the failure.
    pub fn charge_failure(&self) -> Result<(), ApiError> {
        self.limiter
            .check_address(RateClass::Login, self.peer.address)
    }
}

/// The layer, for [`axum::middleware::from_fn_with_state`].
pub async fn admit(
    State(limiter): State<Arc<RateLimiter>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let class = class_of(request.method(), path.map_or("", MatchedPath::as_str));
    // Only a router that is called without a listener, as in tests, has no peer.
    let unknown = Peer {
        address: Ipv4Addr::UNSPECIFIED.into(),
        secure: false,
    };
    let peer = request
        .extensions()
        .get::<Peer>()
        .copied()
        .unwrap_or(unknown);
    let by_address = matches!(
        class,
        RateClass::Login | RateClass::Registration | RateClass::Federation
    ) || !shows_token(&request);
    if by_address && let Err(refusal) = limiter.check_address(class, peer.address) {
        return refusal.into_response();
    }
    request.extensions_mut().insert(Admission {
        limiter,
        class,
        peer,
        charged: by_address,
    });
    next.run(request).await
}

/// Whether there is something that claims to be an access token.
fn shows_token(request: &Request) -> bool {
    let in_query = |query: &str| {
        query
            .split('&')
            .any(|pair| pair.starts_with("access_token="))
    };
    let headers = request.headers();
    // A browser's WebSocket has no other place for the token than its subprotocol.
    headers.contains_key(header::AUTHORIZATION)
        || headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL)
        || request.uri().query().is_some_and(in_query)
}
