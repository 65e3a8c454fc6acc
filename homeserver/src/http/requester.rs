//! Who is asking: an access token to a [`Requester`].
//!
//! Invariant: whoever holds a [`Requester`] has a token of good signature, not expired, of a live
//! session of an account that may be used.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#client-authentication>

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use http::{StatusCode, header, request::Parts};
use ruma::{OwnedDeviceId, OwnedUserId, UserId, api::error::ErrorKind};

use super::{
    error::ApiError,
    rate_limit::Admission,
    token::{Claims, Tokens},
};
use crate::{
    accounts::{Accounts, SessionState},
    store::StoreError,
};

/// The authenticated sender of a request: an extractor. `Option<Requester>` takes requests without
/// a token as well, but refuses a bad one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    /// Who.
    pub user_id: OwnedUserId,
    /// With which device.
    pub device_id: OwnedDeviceId,
    /// By which session: open requests watch it with [`crate::accounts::Sessions::ended`].
    pub session_id: Arc<str>,
    /// When the token expires, in milliseconds since the Unix epoch; none if it does not.
    pub expires_ms: Option<i64>,
}

/// A requester who may do more than read: an extractor that refuses whoever is suspended.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#account-suspension>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active(pub Requester);

/// A requester who wants no more than to end sessions: an extractor that takes users whose account is locked.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#account-locking>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving(pub Requester);

/// Why a token does not identify anybody.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("no access token")]
    Missing,
    /// Its signature is bad, or its session is over.
    #[error("unknown access token")]
    Unknown,
    /// Its session lives, but the token has expired or was replaced.
    #[error("expired access token")]
    Expired,
    /// The account is locked.
    #[error("the account is locked")]
    Locked,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Missing => Self::missing_token(),
            TokenError::Unknown => Self::unknown_token(false),
            TokenError::Expired => Self::unknown_token(true),
            TokenError::Locked => Self::user_locked(),
            TokenError::Store(error) => error.into(),
        }
    }
}

/// Turns tokens into requesters.
#[derive(Debug)]
pub struct Authenticator {
    tokens: Arc<Tokens>,
    accounts: Arc<Accounts>,
}

impl Authenticator {
    /// An authenticator for these tokens and accounts.
    pub fn new(tokens: Arc<Tokens>, accounts: Arc<Accounts>) -> Self {
        Self { tokens, accounts }
    }

    /// Who holds this access token: signature first, then the session, then expiry.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn authenticate(&self, token: &str) -> Result<Requester, TokenError> {
        self.authenticate_if(token, false).await
    }

    /// The same; if `even_locked`, also for an account that is locked.
    async fn authenticate_if(
        &self,
        token: &str,
        even_locked: bool,
    ) -> Result<Requester, TokenError> {
        let claims = self.tokens.read_access(token).ok_or(TokenError::Unknown)?;
        let expired = self.tokens.is_expired(&claims);
        let sessions = self.accounts.sessions();
        if expired {
            // An expired token must not make its pair current; the session alone counts.
            return Err(match sessions.state(&claims.session_id).await? {
                SessionState::Live | SessionState::Superseded => TokenError::Expired,
                SessionState::Locked => TokenError::Locked,
                SessionState::Gone => TokenError::Unknown,
            });
        }
        match sessions.check(&claims.session_id, &claims.token).await? {
            SessionState::Live => Ok(Requester::from(&*claims)),
            SessionState::Superseded => Err(TokenError::Expired),
            SessionState::Locked if even_locked => Ok(Requester::from(&*claims)),
            SessionState::Locked => Err(TokenError::Locked),
            SessionState::Gone => Err(TokenError::Unknown),
        }
    }
}

impl Authenticator {
    /// Whether the requester may do more than read.
    ///
    /// # Errors
    /// `M_USER_SUSPENDED` if not.
    pub async fn must_be_active(&self, requester: &Requester) -> Result<(), ApiError> {
        let sessions = self.accounts.sessions();
        if sessions.is_suspended(&requester.session_id).await? {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                ErrorKind::UserSuspended,
                "You cannot perform this action while suspended",
            ));
        }
        Ok(())
    }
}

impl Requester {
    /// Whether a path that names a user names the requester.
    ///
    /// # Errors
    /// `M_FORBIDDEN` if it names somebody else.
    pub fn must_be(&self, user: &UserId) -> Result<(), ApiError> {
        if self.user_id == user {
            Ok(())
        } else {
            Err(ApiError::forbidden("This belongs to another user"))
        }
    }
}

impl From<&Claims> for Requester {
    fn from(claims: &Claims) -> Self {
        Self {
            user_id: claims.user_id.clone(),
            device_id: claims.device_id.clone(),
            session_id: Arc::clone(&claims.session_id),
            expires_ms: claims.expires_ms,
        }
    }
}

impl<S> FromRequestParts<S> for Requester
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let token = token_of(parts)?.ok_or(TokenError::Missing)?;
        admit(parts, &token, &Arc::<Authenticator>::from_ref(state)).await
    }
}

impl<S> FromRequestParts<S> for Active
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let requester =
            <Requester as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Arc::<Authenticator>::from_ref(state)
            .must_be_active(&requester)
            .await?;
        Ok(Self(requester))
    }
}

impl<S> FromRequestParts<S> for Leaving
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let token = token_of(parts)?.ok_or(TokenError::Missing)?;
        let authenticator = Arc::<Authenticator>::from_ref(state);
        let outcome = authenticator.authenticate_if(&token, true).await;
        charge(parts, outcome).map(Self)
    }
}

impl<S> OptionalFromRequestParts<S> for Requester
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, ApiError> {
        let Some(token) = token_of(parts)? else {
            return Ok(None);
        };
        admit(parts, &token, &Arc::<Authenticator>::from_ref(state))
            .await
            .map(Some)
    }
}

/// Finds out who holds the token and counts the request: a user's against the user, a token that nobody could have been given
/// against the address it came from.
///
/// # Errors
/// What becomes of a [`TokenError`], or 429 `M_LIMIT_EXCEEDED`.
pub async fn admit(
    parts: &Parts,
    token: &str,
    authenticator: &Authenticator,
) -> Result<Requester, ApiError> {
    charge(parts, authenticator.authenticate(token).await)
}

fn charge(parts: &Parts, outcome: Result<Requester, TokenError>) -> Result<Requester, ApiError> {
    let admission = parts.extensions.get::<Admission>();
    match outcome {
        Ok(requester) => {
            admission.map_or(Ok(()), |admission| {
                admission.charge_user(&requester.user_id)
            })?;
            Ok(requester)
        }
        Err(TokenError::Unknown) => {
            admission.map_or(Ok(()), Admission::charge_failure)?;
            Err(TokenError::Unknown.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The access token of a request: from the header, or else from the query (which older clients
/// use).
///
/// # Errors
/// `M_UNKNOWN_TOKEN` for a header that is no bearer token.
pub fn token_of(parts: &Parts) -> Result<Option<String>, ApiError> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| token.trim().to_owned())
        });
        return token
            .map(Some)
            .ok_or_else(|| ApiError::unknown_token(false));
    }
    let query = parts.uri.query().unwrap_or_default();
    let token = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == "access_token")
        // Tokens consist of characters that are never percent-encoded.
        .map(|(_, value)| value.to_owned());
    Ok(token)
}
