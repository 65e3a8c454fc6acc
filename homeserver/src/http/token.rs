//! Access and refresh tokens: JWTs of one algorithm (EdDSA), made from sessions and read back.
//!
//! Invariant: nothing about a token is believed, and no database is asked, before its signature was
//! found good. Whether its session lives is not decided here (`http/requester.rs`).
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens>

use std::{sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use quick_cache::sync::Cache;
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    accounts::{Session, TokenName},
    clock::Clock,
    key_files::TokenKey,
};

/// How long an access token lives that can be refreshed.
pub const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// The longest token that is looked at, in bytes: twice the longest that is ever made.
const TOKEN_BYTES_MAX: usize = 4096;
/// How many verified tokens are remembered; each costs about 500 bytes.
const VERIFIED_MAX: usize = 20_000;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Purpose {
    Access,
    Refresh,
}

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct WireClaims {
    sub: OwnedUserId,
    device: OwnedDeviceId,
    sid: String,
    purpose: Purpose,
    step: i64,
    attempt: String,
    /// Seconds since the Unix epoch; none if the token lives as long as its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
}

/// What a token with a good signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who.
    pub user_id: OwnedUserId,
    /// With which device.
    pub device_id: OwnedDeviceId,
    /// By which session.
    pub session_id: Arc<str>,
    /// Which of the session's pairs of tokens.
    pub token: TokenName,
    /// When it expires, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

/// The tokens of a session, as a client gets them.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedTokens {
    /// The access token.
    pub access_token: String,
    /// The refresh token, for a session that has them.
    pub refresh_token: Option<String>,
    /// How long the access token lives, if it does not live as long as the session.
    pub expires_in: Option<Duration>,
}

impl std::fmt::Debug for IssuedTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuedTokens(…)")
    }
}

/// A token could not be signed: the key is unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of the access tokens cannot sign")]
pub struct SigningError;

/// Makes and reads tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    clock: Arc<dyn Clock>,
    /// Access tokens whose signature was good, by their SHA-256: the same token always says the same.
    verified: Cache<[u8; 32], Arc<Claims>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(…)")
    }
}

impl Tokens {
    /// Tokens signed with this key.
    pub fn new(key: &TokenKey, clock: Arc<dyn Clock>) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Expiry is judged by our clock, after the session was found; nothing else is in the claims.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self {
            encoding: EncodingKey::from_ed_der(&key.pkcs8),
            decoding: DecodingKey::from_ed_der(&key.public),
            validation,
            clock,
            verified: Cache::new(VERIFIED_MAX),
        }
    }

    /// The tokens of a session.
    ///
    /// # Errors
    /// [`SigningError`].
    pub fn issue(&self, session: &Session) -> Result<IssuedTokens, SigningError> {
        let expires_in = session.refreshable.then_some(ACCESS_TOKEN_LIFETIME);
        let now_ms = self.clock.now_ms();
        let exp = expires_in.map(|life| now_ms / 1000 + life.as_secs().cast_signed());
        let refresh_token = if session.refreshable {
            Some(self.sign(session, Purpose::Refresh, None)?)
        } else {
            None
        };
        Ok(IssuedTokens {
            access_token: self.sign(session, Purpose::Access, exp)?,
            refresh_token,
            expires_in,
        })
    }

    fn sign(
        &self,
        session: &Session,
        purpose: Purpose,
        exp: Option<i64>,
    ) -> Result<String, SigningError> {
        let claims = WireClaims {
            sub: session.user_id.clone(),
            device: session.device_id.clone(),
            sid: session.id.clone(),
            purpose,
            step: session.token.step,
            attempt: session.token.attempt.clone(),
            exp,
        };
        encode(&Header::new(Algorithm::EdDSA), &claims, &self.encoding).map_err(|_| SigningError)
    }

    /// What an access token says, if its signature is good. It may have expired.
    pub fn read_access(&self, token: &str) -> Option<Arc<Claims>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(claims) = self.verified.get(&hash) {
            return Some(claims);
        }
        let claims = Arc::new(self.read(token, Purpose::Access)?);
        self.verified.insert(hash, Arc::clone(&claims));
        Some(claims)
    }

    /// What a refresh token says, if its signature is good.
    pub fn read_refresh(&self, token: &str) -> Option<Claims> {
        self.read(token, Purpose::Refresh)
    }

    /// Whether these claims have expired.
    pub fn is_expired(&self, claims: &Claims) -> bool {
        claims
            .expires_ms
            .is_some_and(|expires| expires <= self.clock.now_ms())
    }

    fn read(&self, token: &str, purpose: Purpose) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let claims = decode::<WireClaims>(token, &self.decoding, &self.validation)
            .ok()?
            .claims;
        if claims.purpose != purpose {
            return None;
        }
        Some(Claims {
            user_id: claims.sub,
            device_id: claims.device,
            session_id: claims.sid.into(),
            token: TokenName {
                step: claims.step,
                attempt: claims.attempt,
            },
            expires_ms: claims.exp.map(|seconds| seconds.saturating_mul(1000)),
        })
    }
}
