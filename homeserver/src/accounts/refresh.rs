//! Replacing a session's tokens.
//!
//! Invariant: a refresh token is spent only once a successor has been used. Until then presenting
//! it again (the answer was lost) gives a fresh pair and drops the unused one; afterwards it
//! ends the session, because two parties hold it.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens>

use ruma::{OwnedDeviceId, OwnedUserId};

use super::{Accounts, Session, TokenName, login::ATTEMPT_CHARS};
use crate::store::{RefreshTokens, Refreshed, StoreError};

/// Why no new tokens are given.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The session is over; it is ended now if the token had been spent.
    #[error("the session is over")]
    Gone,
    /// The token was dropped for another; the session lives.
    #[error("the refresh token was replaced before it was used")]
    Dropped,
    /// The account is locked.
    #[error("the account is locked")]
    Locked,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Issues a new pair for the refresh token of the pair `token`, whose signature was good.
    ///
    /// # Errors
    /// [`RefreshError`].
    pub async fn refresh(
        &self,
        session_id: &str,
        user_id: OwnedUserId,
        device_id: OwnedDeviceId,
        token: TokenName,
    ) -> Result<Session, RefreshError> {
        let attempt = self.rng.token(ATTEMPT_CHARS);
        let change = RefreshTokens {
            id: session_id.to_owned(),
            step: token.step,
            attempt: token.attempt,
            new_attempt: attempt.clone(),
        };
        let refreshed = self.store.commit(change).await?.output;
        self.sessions.forget([session_id]);
        match refreshed {
            Refreshed::Issued { step } => Ok(Session {
                id: session_id.to_owned(),
                user_id,
                device_id,
                refreshable: true,
                token: TokenName { step, attempt },
            }),
            Refreshed::Stolen { ended } => {
                tracing::warn!("a spent refresh token was presented again; its session was ended");
                self.sessions.forget(ended.iter().map(String::as_str));
                Err(RefreshError::Gone)
            }
            Refreshed::Dropped => Err(RefreshError::Dropped),
            Refreshed::Locked => Err(RefreshError::Locked),
            Refreshed::Gone => Err(RefreshError::Gone),
        }
    }
}
