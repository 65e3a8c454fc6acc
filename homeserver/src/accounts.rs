//! People: who they are, what they are logged in with, and what the server keeps for them.
//!
//! Invariant: nobody learns from an answer or from its delay whether an account exists, except
//! where the specification says so (registration). Passwords are compared only as Argon2id hashes.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#account-registration-and-management>

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use ruma::{OwnedServerName, OwnedUserId, ServerName, UserId, api::client::uiaa::UserIdentifier};
use sha2::{Digest, Sha256};

use crate::{
    clock::{Clock, Rng},
    config::{Config, RegistrationConfig},
    store::{AccountState, Store, StoreError},
};

pub mod admin;
pub mod keys;
mod login;
mod passwords;
mod refresh;
mod register;
mod remote_devices;
mod sessions;
mod to_device;

pub(crate) use self::login::truncate_device_name;
pub use self::{
    login::{Login, LoginError},
    passwords::{PasswordError, Passwords},
    refresh::RefreshError,
    register::{Registration, RegistrationError},
    remote_devices::RemoteDevices,
    sessions::{Session, SessionState, Sessions, TokenName},
    to_device::{Messages, TO_DEVICE_CONTENT_BYTES_MAX, TO_DEVICE_MESSAGES_MAX, ToDeviceError},
};

/// Accounts, their passwords and their sessions.
#[derive(Debug)]
pub struct Accounts {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    server_name: OwnedServerName,
    registration: RegistrationConfig,
    passwords: Passwords,
    sessions: Sessions,
}

impl Accounts {
    /// The accounts in `store`, by the rules of `config`.
    pub fn new(
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        config: &Config,
    ) -> Self {
        Self {
            passwords: Passwords::new(config.passwords, Arc::clone(&rng)),
            sessions: Sessions::new(Arc::clone(&store), Arc::clone(&clock)),
            server_name: config.server_name.clone(),
            registration: config.registration.clone(),
            store,
            clock,
            rng,
        }
    }

    /// The name that local user ids end in.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// How people may register.
    pub fn registration(&self) -> &RegistrationConfig {
        &self.registration
    }

    /// The live sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The hashing of passwords.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Whether the user id belongs to this server; it says nothing of an account.
    pub fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.server_name
    }

    /// The local user whom a client means: by localpart or by full id.
    pub fn local_user(&self, identifier: &UserIdentifier) -> Option<OwnedUserId> {
        let UserIdentifier::Matrix(matrix) = identifier else {
            return None;
        };
        self.local_user_named(&matrix.user)
    }

    /// The local user with this localpart or full id.
    pub fn local_user_named(&self, user: &str) -> Option<OwnedUserId> {
        // People write names as they like; accounts are given in lower case only.
        let user = match user.split_once(':') {
            Some((name, server)) => format!("{}:{server}", name.to_ascii_lowercase()),
            None => user.to_ascii_lowercase(),
        };
        let user = UserId::parse_with_server_name(user, &self.server_name).ok()?;
        (self.is_local(&user) && user.as_str().len() <= register::USER_ID_BYTES_MAX).then_some(user)
    }

    /// Whether the password opens the account. It takes as long for an account that does not exist.
    ///
    /// # Errors
    /// [`PasswordError`] if it could not be found out.
    pub async fn verify_password(
        &self,
        user: Option<&UserId>,
        password: &str,
    ) -> Result<PasswordCheck, PasswordError> {
        let account = match user {
            Some(user) => self.store.account(user).await?,
            None => None,
        };
        let account = account.filter(|account| account.state != AccountState::Deactivated);
        let hash = account
            .as_ref()
            .and_then(|account| account.password_hash.clone());
        if !self.passwords.verify(password, hash).await? {
            return Ok(PasswordCheck::Wrong);
        }
        Ok(match account.map(|account| account.state) {
            Some(AccountState::Active) => PasswordCheck::Right,
            Some(AccountState::Locked) => PasswordCheck::Locked,
            Some(AccountState::Deactivated) | None => PasswordCheck::Wrong,
        })
    }

    /// Whether there was an account of this user that is over for ever; the id stays taken, so that this tells nothing new.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_deactivated(&self, user: &UserId) -> Result<bool, StoreError> {
        let account = self.store.account(user).await?;
        Ok(account.is_some_and(|account| account.state == AccountState::Deactivated))
    }

    /// Whether the user has an account here that is not over for ever; it may be locked, which others do not see.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_known(&self, user: &UserId) -> Result<bool, StoreError> {
        let account = self.store.account(user).await?;
        Ok(account.is_some_and(|account| account.state != AccountState::Deactivated))
    }

    /// Whether the user has an account here that can be used.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_active(&self, user: &UserId) -> Result<bool, StoreError> {
        let account = self.store.account(user).await?;
        Ok(account.is_some_and(|account| account.state == AccountState::Active))
    }
}

/// What a password turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordCheck {
    /// It opens the account.
    Right,
    /// It does not, or there is no such account.
    Wrong,
    /// It would, if the account were not locked.
    Locked,
}

/// The hash under which an OpenID token is kept: SHA-256, in unpadded base64.
pub fn openid_token_hash(token: &str) -> String {
    STANDARD_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}
