//! User-interactive authentication: proving once more who one is, for what a stolen token must not do.
//!
//! Invariant: a session of it belongs to one user and one operation, ends with its success, and is
//! kept in memory only, at most [`SESSIONS_MAX`] of them for [`LIFETIME`]. Every flow here has one stage.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api>

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use quick_cache::sync::Cache;
use ruma::{
    OwnedUserId, UserId,
    api::{
        client::uiaa::{AuthData, AuthFlow, AuthType, UiaaInfo},
        error::{ErrorKind, StandardErrorBody},
    },
};

use super::error::ApiError;
use crate::{
    accounts::{Accounts, PasswordCheck},
    clock::{Clock, Rng},
};

/// How many are open at once; the oldest is dropped for a new one.
const SESSIONS_MAX: usize = 10_000;
/// How long one stays open.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Letters of its id: 131 bits.
const SESSION_CHARS: usize = 22;

/// What is to be authorised: a session for one is worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Making an account.
    Register,
    /// Replacing the password.
    ChangePassword,
    /// Ending the account.
    Deactivate,
    /// Deleting devices.
    DeleteDevices,
    /// Replacing cross-signing keys.
    UploadSigningKeys,
    /// Letting another device log in.
    GetLoginToken,
}

/// One that is open.
#[derive(Clone, Debug)]
struct Open {
    operation: Operation,
    user: Option<OwnedUserId>,
    /// The clock's monotonic time at which it ends.
    until: Duration,
    /// The stage that it waits for.
    stage: AuthType,
    /// What was proven on a page of ours, instead of by the client.
    proven: Option<Proof>,
}

/// Those that are open.
#[derive(Debug)]
pub struct Uia {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    accounts: Arc<Accounts>,
    open: Cache<String, Open>,
}

/// What was proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The password, or nothing at all where nothing is asked.
    Given,
    /// A registration token, still to be used up.
    RegistrationToken(String),
}

impl Uia {
    /// Authentication against these accounts.
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>, accounts: Arc<Accounts>) -> Self {
        Self {
            clock,
            rng,
            accounts,
            open: Cache::new(SESSIONS_MAX),
        }
    }

    /// Requires the password of `user`.
    ///
    /// # Errors
    /// [`ApiError::Uia`] until it was given; a wrong one as 401 with the flows.
    pub async fn require_password(
        &self,
        operation: Operation,
        user: &UserId,
        auth: Option<&AuthData>,
    ) -> Result<(), ApiError> {
        self.require(operation, Some(user), AuthType::Password, auth)
            .await
            .map(|_| ())
    }

    /// Requires a password where no token says whose; answers whose it was.
    ///
    /// # Errors
    /// As [`Uia::require_password`].
    pub async fn require_anybodys_password(
        &self,
        operation: Operation,
        auth: Option<&AuthData>,
    ) -> Result<OwnedUserId, ApiError> {
        let challenge = || self.challenge(operation, None, AuthType::Password, None);
        let Some(AuthData::Password(given)) = auth else {
            return Err(challenge());
        };
        let session = given.session.clone();
        if session
            .as_ref()
            .is_some_and(|id| !self.is_open(id, operation, None))
        {
            return Err(challenge());
        }
        let user = self.accounts.local_user(&given.identifier);
        let check = self
            .accounts
            .verify_password(user.as_deref(), &given.password)
            .await?;
        if let (PasswordCheck::Right, Some(user)) = (check, user) {
            if let Some(session) = session {
                self.open.remove(&session);
            }
            return Ok(user);
        }
        let message = "Invalid username or password".to_owned();
        let error = StandardErrorBody::new(ErrorKind::Forbidden, message);
        Err(self.ask_again(operation, None, AuthType::Password, session, Some(error)))
    }

    /// Requires one stage.
    ///
    /// # Errors
    /// [`ApiError::Uia`] until it was completed; a failed attempt as 401 with the flows.
    pub async fn require(
        &self,
        operation: Operation,
        user: Option<&UserId>,
        stage: AuthType,
        auth: Option<&AuthData>,
    ) -> Result<Proof, ApiError> {
        let Some(auth) = auth else {
            return Err(self.challenge(operation, user, stage, None));
        };
        let session = match auth.session() {
            // Clients that know the only stage skip the first round.
            None => None,
            Some(id) if self.is_open(id, operation, user) => Some(id.to_owned()),
            Some(_) => return Err(self.challenge(operation, user, stage, None)),
        };
        let proven = session.as_ref().and_then(|id| self.open.get(id)?.proven);
        let outcome = match (auth, proven) {
            (AuthData::FallbackAcknowledgement(_), Some(proof)) => Ok(proof),
            _ => self.attempt(&stage, user, auth).await,
        };
        match outcome {
            Ok(proof) => {
                if let Some(session) = session {
                    self.open.remove(&session);
                }
                Ok(proof)
            }
            Err(Attempt::Failed(error)) => {
                Err(self.ask_again(operation, user, stage, session, error))
            }
            Err(Attempt::Broken(error)) => Err(error),
        }
    }

    async fn attempt(
        &self,
        stage: &AuthType,
        user: Option<&UserId>,
        auth: &AuthData,
    ) -> Result<Proof, Attempt> {
        match (stage, auth) {
            (AuthType::Dummy, AuthData::Dummy(_)) => Ok(Proof::Given),
            (AuthType::RegistrationToken, AuthData::RegistrationToken(given)) => {
                let valid = self
                    .accounts
                    .is_registration_token_valid(&given.token)
                    .await
                    .map_err(|error| Attempt::Broken(error.into()))?;
                if valid {
                    Ok(Proof::RegistrationToken(given.token.clone()))
                } else {
                    Err(Attempt::forbidden("The registration token is not valid"))
                }
            }
            (AuthType::Password, AuthData::Password(given)) => {
                let claimed = self.accounts.local_user(&given.identifier);
                let same = claimed.is_some() && claimed.as_deref() == user;
                if !same && claimed.is_some() {
                    // Another attempt as somebody else would change nothing.
                    let error = ApiError::forbidden("This is not your account");
                    return Err(Attempt::Broken(error));
                }
                let check = self
                    .accounts
                    .verify_password(user.filter(|_| same), &given.password)
                    .await
                    .map_err(|error| Attempt::Broken(error.into()))?;
                match check {
                    PasswordCheck::Right => Ok(Proof::Given),
                    _ => Err(Attempt::forbidden("Invalid username or password")),
                }
            }
            _ => Err(Attempt::Failed(None)),
        }
    }

    /// Whether a session waits for this stage.
    pub fn waits_for(&self, id: &str, stage: &AuthType) -> bool {
        let open = self.open.get(id);
        open.is_some_and(|open| open.stage == *stage && self.clock.monotonic() < open.until)
    }

    /// Attempts the stage of a session on a page of ours; answers whether it is completed. The client then goes on with the session
    /// alone.
    ///
    /// # Errors
    /// [`ApiError`] if it could not be judged.
    pub async fn complete(
        &self,
        id: &str,
        stage: &AuthType,
        auth: &AuthData,
    ) -> Result<bool, ApiError> {
        let Some(open) = self.open.get(id).filter(|_| self.waits_for(id, stage)) else {
            return Ok(false);
        };
        match self.attempt(stage, open.user.as_deref(), auth).await {
            Ok(proof) => {
                let proven = Some(proof);
                self.open.insert(id.to_owned(), Open { proven, ..open });
                Ok(true)
            }
            Err(Attempt::Failed(_)) => Ok(false),
            Err(Attempt::Broken(error)) => Err(error),
        }
    }

    fn is_open(&self, id: &str, operation: Operation, user: Option<&UserId>) -> bool {
        self.open.get(id).is_some_and(|open| {
            open.operation == operation
                && open.user.as_deref() == user
                && self.clock.monotonic() < open.until
        })
    }

    /// A new session, and the answer that asks for the stage.
    fn challenge(
        &self,
        operation: Operation,
        user: Option<&UserId>,
        stage: AuthType,
        error: Option<StandardErrorBody>,
    ) -> ApiError {
        let id = self.rng.token(SESSION_CHARS);
        let open = Open {
            operation,
            user: user.map(ToOwned::to_owned),
            until: self.clock.monotonic() + LIFETIME,
            stage: stage.clone(),
            proven: None,
        };
        self.open.insert(id.clone(), open);
        ask(id, stage, error)
    }

    fn ask_again(
        &self,
        operation: Operation,
        user: Option<&UserId>,
        stage: AuthType,
        session: Option<String>,
        error: Option<StandardErrorBody>,
    ) -> ApiError {
        match session {
            Some(id) => ask(id, stage, error),
            None => self.challenge(operation, user, stage, error),
        }
    }
}

/// What became of an attempt that did not succeed.
enum Attempt {
    /// It was wrong: the flows are offered again, with the reason.
    Failed(Option<StandardErrorBody>),
    /// It could not be judged.
    Broken(ApiError),
}

impl Attempt {
    fn forbidden(message: &str) -> Self {
        Self::Failed(Some(StandardErrorBody::new(
            ErrorKind::Forbidden,
            message.to_owned(),
        )))
    }
}

fn ask(session: String, stage: AuthType, error: Option<StandardErrorBody>) -> ApiError {
    let mut info = UiaaInfo::new(vec![AuthFlow::new(vec![stage])]);
    info.session = Some(session);
    info.auth_error = error.map(Box::new);
    // Clients expect the member, even where no stage has parameters.
    info.params = serde_json::value::to_raw_value(&serde_json::json!({})).ok();
    ApiError::Uia(Box::new(info))
}

impl ApiError {
    /// 401 `M_USER_LOCKED`: the client keeps its keys and asks again later.
    pub fn user_locked() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            ErrorKind::UserLocked,
            "The account is locked",
        )
    }
}
