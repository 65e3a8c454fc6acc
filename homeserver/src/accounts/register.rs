//! Making accounts.
//!
//! Invariant: a local user id is of the strict grammar and at most 255 bytes, and is given once.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register>

use ruma::{OwnedUserId, UserId};

use super::{Accounts, Login, LoginError, PasswordError, Session};
use crate::store::{CreateAccount, Creation, StoreError};

/// The longest user id, in bytes, sigil and server name included.
///
/// Spec: <https://spec.matrix.org/v1.19/appendices/#user-identifiers>
pub(super) const USER_ID_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;
/// Letters of a name that the server chooses.
const USERNAME_CHARS: usize = 10;

/// A wish for an account.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The id wished for, checked by [`Accounts::check_username`].
    pub user_id: OwnedUserId,
    /// The password; without one the account is opened by other means only.
    pub password: Option<String>,
    /// The registration token to use up.
    pub token: Option<String>,
    /// How to be logged in at once, if at all.
    pub login: Option<Login>,
}

/// Why no account was made.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The name is not of the grammar, or too long.
    #[error("the name is not valid")]
    InvalidUsername,
    /// The name was given before.
    #[error("the name is taken")]
    InUse,
    /// The registration token is unknown, expired or used up.
    #[error("the registration token is refused")]
    TokenRefused,
    /// The first session could not be begun.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The password is refused or could not be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// The user id for a name wished for, or for a random one; it must be valid and free.
    ///
    /// # Errors
    /// [`RegistrationError::InvalidUsername`], [`RegistrationError::InUse`].
    pub async fn check_username(
        &self,
        username: Option<&str>,
    ) -> Result<OwnedUserId, RegistrationError> {
        let chosen = match username {
            // "The basis for the localpart": case tells no two people apart.
            Some(name) => name.to_ascii_lowercase(),
            None => self.rng.token(USERNAME_CHARS).to_ascii_lowercase(),
        };
        let user_id = self.new_user_id(&chosen)?;
        if self.store.account(&user_id).await?.is_some() {
            return Err(RegistrationError::InUse);
        }
        Ok(user_id)
    }

    /// The user id with this localpart, if new accounts may have it.
    ///
    /// # Errors
    /// [`RegistrationError::InvalidUsername`].
    pub fn new_user_id(&self, localpart: &str) -> Result<OwnedUserId, RegistrationError> {
        if localpart.is_empty() || localpart.starts_with('@') {
            return Err(RegistrationError::InvalidUsername);
        }
        let user_id = UserId::parse_with_server_name(localpart, &self.server_name)
            .map_err(|_| RegistrationError::InvalidUsername)?;
        if user_id.validate_strict().is_err() || user_id.as_str().len() > USER_ID_BYTES_MAX {
            return Err(RegistrationError::InvalidUsername);
        }
        Ok(user_id)
    }

    /// Makes an account and, if wished, its first session.
    ///
    /// # Errors
    /// [`RegistrationError`].
    pub async fn register(
        &self,
        registration: Registration,
    ) -> Result<Option<Session>, RegistrationError> {
        let password_hash = match &registration.password {
            Some(password) => {
                self.passwords.check_new(password)?;
                Some(self.passwords.hash(password).await?)
            }
            None => None,
        };
        let user_id = registration.user_id;
        let (new, session) = match registration.login {
            Some(login) => {
                let (new, session) = self.new_session(user_id.clone(), login)?;
                (Some(new), Some(session))
            }
            None => (None, None),
        };
        let change = CreateAccount {
            user_id,
            password_hash,
            registration_token: registration.token,
            session: new,
            now_ms: self.clock.now_ms(),
        };
        match self.store.commit(change).await?.output {
            Creation::Created => Ok(session),
            Creation::InUse => Err(RegistrationError::InUse),
            Creation::TokenRefused => Err(RegistrationError::TokenRefused),
        }
    }

    /// Whether a registration token would be accepted now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_registration_token_valid(&self, token: &str) -> Result<bool, StoreError> {
        let found = self.store.registration_token(token).await?;
        Ok(found.is_some_and(|found| found.is_valid(self.clock.now_ms())))
    }
}
