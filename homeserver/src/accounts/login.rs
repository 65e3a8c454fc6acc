//! Logging in, logging out, and the devices that come and go with it.
//!
//! Invariant: a session that ends is forgotten by the cache before the answer is given.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#login>

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use super::{Accounts, PasswordCheck, PasswordError, Session, TokenName, openid_token_hash};
use crate::store::{
    AccountState, Deactivate, DeleteDevices, NewSession, SetPassword, StartSession, StoreError,
    TakeLoginToken,
};

/// The longest device id that a client may choose, in bytes.
const DEVICE_ID_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;
/// The longest name of a device, in bytes.
const DEVICE_NAME_BYTES_MAX: usize = 256;
/// Letters of a device id that the server chooses.
const DEVICE_ID_CHARS: usize = 10;
/// Letters of a session's id: 131 bits.
const SESSION_ID_CHARS: usize = 22;
/// Letters of the name of a pair of tokens: they differ within one session.
pub(super) const ATTEMPT_CHARS: usize = 10;

/// How somebody wants to be logged in.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The device's id, if it has one already.
    pub device_id: Option<OwnedDeviceId>,
    /// What a new device is called.
    pub display_name: Option<String>,
    /// Whether the client can refresh its tokens.
    pub refreshable: bool,
}

/// Why somebody is not logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Unknown account or wrong password: one answer for both.
    #[error("unknown account or wrong password")]
    Refused,
    /// The account is locked.
    #[error("the account is locked")]
    Locked,
    /// The account is over for ever.
    #[error("the account is deactivated")]
    Deactivated,
    /// The device id is too long, or has characters that no device id has.
    #[error("the device id is not valid")]
    InvalidDevice,
    /// The password could not be verified.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// Begins a session for whoever knows the password.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn log_in(
        &self,
        user: Option<OwnedUserId>,
        password: &str,
        login: Login,
    ) -> Result<Session, LoginError> {
        let check = self.verify_password(user.as_deref(), password).await?;
        match (check, user) {
            (PasswordCheck::Right, Some(user)) => self.begin_session(user, login).await,
            (PasswordCheck::Locked, _) => Err(LoginError::Locked),
            (_, Some(user)) => Err(match self.is_deactivated(&user).await? {
                true => LoginError::Deactivated,
                false => LoginError::Refused,
            }),
            _ => Err(LoginError::Refused),
        }
    }

    /// Begins a session for whoever shows a token that another session was given.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn log_in_with_token(
        &self,
        token: &str,
        login: Login,
    ) -> Result<Session, LoginError> {
        let take = TakeLoginToken {
            token_hash: openid_token_hash(token),
            now_ms: self.clock.now_ms(),
        };
        match self.store.commit(take).await?.output {
            Some(user) => self.begin_session(user, login).await,
            None => Err(LoginError::Refused),
        }
    }

    /// Begins a session for a user whose identity is proven.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn begin_session(
        &self,
        user_id: OwnedUserId,
        login: Login,
    ) -> Result<Session, LoginError> {
        let (new, session) = self.new_session(user_id, login)?;
        let ended = self.store.commit(StartSession(new)).await?.output;
        let Some(ended) = ended else {
            let account = self.store.account(&session.user_id).await?;
            return Err(match account.map(|account| account.state) {
                Some(AccountState::Locked) => LoginError::Locked,
                Some(AccountState::Deactivated) => LoginError::Deactivated,
                Some(AccountState::Active) | None => LoginError::Refused,
            });
        };
        self.sessions.forget(ended.iter().map(String::as_str));
        Ok(session)
    }

    /// A session about to be stored, and what its tokens are made of.
    pub(super) fn new_session(
        &self,
        user_id: OwnedUserId,
        login: Login,
    ) -> Result<(NewSession, Session), LoginError> {
        let device_id = match login.device_id {
            Some(device) if is_device_id(&device) => device,
            Some(_) => return Err(LoginError::InvalidDevice),
            None => self.rng.token(DEVICE_ID_CHARS).to_ascii_uppercase().into(),
        };
        let display_name = login.display_name.map(truncate_device_name);
        let new = NewSession {
            id: self.rng.token(SESSION_ID_CHARS),
            user_id,
            device_id,
            display_name,
            refreshable: login.refreshable,
            attempt: self.rng.token(ATTEMPT_CHARS),
            now_ms: self.clock.now_ms(),
        };
        let session = Session {
            id: new.id.clone(),
            user_id: new.user_id.clone(),
            device_id: new.device_id.clone(),
            refreshable: new.refreshable,
            token: TokenName {
                step: 0,
                attempt: new.attempt.clone(),
            },
        };
        Ok((new, session))
    }

    /// Ends sessions by deleting their devices; all of the user's if none is given.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_devices(
        &self,
        user_id: &UserId,
        devices: Option<Vec<OwnedDeviceId>>,
    ) -> Result<(), StoreError> {
        let change = DeleteDevices {
            user_id: user_id.to_owned(),
            devices,
        };
        let ended = self.store.commit(change).await?.output;
        self.sessions.forget(ended.iter().map(String::as_str));
        Ok(())
    }

    /// Replaces a password. With `end_sessions` all devices but `keep` are logged out.
    ///
    /// # Errors
    /// [`PasswordError`]; nothing happens to an account that is deactivated.
    pub async fn set_password(
        &self,
        user_id: &UserId,
        password: &str,
        end_sessions: bool,
        keep: Option<&DeviceId>,
    ) -> Result<bool, PasswordError> {
        self.passwords.check_new(password)?;
        let change = SetPassword {
            user_id: user_id.to_owned(),
            password_hash: self.passwords.hash(password).await?,
            end_sessions,
            keep_device: keep.map(ToOwned::to_owned),
        };
        let Some(ended) = self.store.commit(change).await?.output else {
            return Ok(false);
        };
        self.sessions.forget(ended.iter().map(String::as_str));
        Ok(true)
    }

    /// Ends an account for ever. Answers whether there was an active one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn deactivate(&self, user_id: &UserId) -> Result<bool, StoreError> {
        let change = Deactivate {
            user_id: user_id.to_owned(),
        };
        let Some(ended) = self.store.commit(change).await?.output else {
            return Ok(false);
        };
        self.sessions.forget(ended.iter().map(String::as_str));
        Ok(true)
    }
}

/// Whether a client may call a device so: short, and without the space that separates scopes.
fn is_device_id(device: &DeviceId) -> bool {
    let id = device.as_str();
    !id.is_empty()
        && id.len() <= DEVICE_ID_BYTES_MAX
        && !id.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// The name of a device, cut to [`DEVICE_NAME_BYTES_MAX`].
pub(crate) fn truncate_device_name(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(DEVICE_NAME_BYTES_MAX));
    name
}
