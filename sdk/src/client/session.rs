//! Tokens: how they are got, kept, renewed and given up.
//!
//! Invariant: a renewed pair is on disk before it is first used, because the refresh token before it is spent by that use. At
//! most one renewal is under way at a time. No token is ever printed.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#client-authentication>

use std::{fmt, time::Duration};

use ruma::{
    OwnedDeviceId, OwnedUserId,
    api::client::{
        account::register,
        session::{login, logout, refresh_token},
        uiaa::{
            AuthData, AuthType, Dummy, MatrixUserIdentifier, RegistrationToken, UiaaInfo,
            UserIdentifier,
        },
    },
};
use serde::{Deserialize, Serialize};

use super::{Client, ClientError, Ended, Notification};
use crate::{
    crypto::SecretBytes,
    http::{HttpError, JSON_BYTES_MAX, REQUEST_TIMEOUT},
    store::{AccountBinding, Batch},
};

/// Where the session is kept in the store.
pub(super) const SESSION_VALUE: &str = "session";

/// A token is renewed when less than this part of its life is left.
const RENEW_AT_PART: u64 = 5;

/// The most stages of interactive authentication gone through.
const STAGES_MAX: usize = 4;

/// A session as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) user_id: OwnedUserId,
    pub(crate) device_id: OwnedDeviceId,
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    /// When the access token should be renewed, in milliseconds since the Unix epoch.
    pub(crate) renew_at_ms: Option<u64>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn encode(&self) -> Result<SecretBytes, ClientError> {
        Ok(SecretBytes::new(
            serde_json::to_vec(self).map_err(|_| ClientError::Encode)?,
        ))
    }

    /// When a token that is good for `life` should be renewed.
    fn renew_at(now_ms: u64, life: Option<Duration>) -> Option<u64> {
        let life_ms = u64::try_from(life?.as_millis()).unwrap_or(u64::MAX);
        Some(now_ms.saturating_add(life_ms - life_ms / RENEW_AT_PART))
    }
}

impl Client {
    /// Logs in with a password, as the same device as before if the store already belongs to one.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with `M_FORBIDDEN` for a wrong name or password; [`ClientError::Store`] if the store belongs to
    /// another account.
    pub async fn login_password(&self, user: &str, password: &str) -> Result<(), ClientError> {
        self.discover().await?;
        let known = self.inner.store.account().await?;
        let identifier = UserIdentifier::Matrix(MatrixUserIdentifier::new(user.to_owned()));
        let password = login::v3::Password::new(identifier, password.to_owned());
        let mut request = login::v3::Request::new(login::v3::LoginInfo::Password(password));
        request.device_id = known.map(|account| account.device_id);
        request.initial_device_display_name = Some(self.inner.config.device_name.clone());
        request.refresh_token = true;
        let answer = self
            .inner
            .http
            .send(request, None, REQUEST_TIMEOUT, JSON_BYTES_MAX)
            .await?;
        self.begin(Session {
            user_id: answer.user_id,
            device_id: answer.device_id,
            access_token: answer.access_token,
            refresh_token: answer.refresh_token,
            renew_at_ms: Session::renew_at(self.now_ms(), answer.expires_in),
        })
        .await
    }

    /// Makes an account and logs in, going through the dummy and, if `token` is given, the registration token stage.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] with the server's errcode, [`HttpError::Interactive`] if it wants stages that need a person.
    pub async fn register(
        &self,
        username: &str,
        password: &str,
        token: Option<&str>,
    ) -> Result<(), ClientError> {
        self.discover().await?;
        let mut request = register::v3::Request::new();
        request.username = Some(username.to_owned());
        request.password = Some(password.to_owned());
        request.initial_device_display_name = Some(self.inner.config.device_name.clone());
        request.refresh_token = true;
        for _ in 0..=STAGES_MAX {
            let sent = self
                .inner
                .http
                .send(request.clone(), None, REQUEST_TIMEOUT, JSON_BYTES_MAX);
            match sent.await {
                Ok(answer) => return self.begin_registered(answer).await,
                Err(HttpError::Interactive(info)) => match next_stage(&info, token) {
                    Some(auth) => request.auth = Some(auth),
                    None => return Err(HttpError::Interactive(info).into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Err(HttpError::BadAnswer.into())
    }

    async fn begin_registered(&self, answer: register::v3::Response) -> Result<(), ClientError> {
        let (Some(access_token), Some(device_id)) = (answer.access_token, answer.device_id) else {
            return Err(HttpError::BadAnswer.into());
        };
        self.begin(Session {
            user_id: answer.user_id,
            device_id,
            access_token,
            refresh_token: answer.refresh_token,
            renew_at_ms: Session::renew_at(self.now_ms(), answer.expires_in),
        })
        .await
    }

    /// Takes up the session that is kept in the store; `false` if there is none.
    ///
    /// # Errors
    ///
    /// [`ClientError`] if the store cannot be read.
    pub async fn restore(&self) -> Result<bool, ClientError> {
        let Some(kept) = self.inner.store.value(SESSION_VALUE).await? else {
            return Ok(false);
        };
        let session: Session =
            serde_json::from_slice(kept.expose()).map_err(|_| ClientError::Decode)?;
        self.load(session).await?;
        Ok(true)
    }

    /// Binds the store to a fresh session, keeps it, and loads everything.
    async fn begin(&self, session: Session) -> Result<(), ClientError> {
        let account = AccountBinding {
            server_name: session.user_id.server_name().to_owned(),
            user_id: session.user_id.clone(),
            device_id: session.device_id.clone(),
        };
        self.inner.store.bind(&account).await?;
        self.keep(&session).await?;
        self.load(session).await?;
        // A device without keys gets no messages, so this one's are uploaded before anybody can hear of it. If that fails, the
        // next sync sees to it.
        if let Err(error) = self.send_outgoing().await {
            tracing::debug!(%error, "keys will be uploaded later");
        }
        Ok(())
    }

    async fn keep(&self, session: &Session) -> Result<(), ClientError> {
        let mut batch = Batch::default();
        batch
            .values
            .push((SESSION_VALUE.to_owned(), Some(session.encode()?)));
        Ok(self.inner.store.commit(batch).await?)
    }

    /// A token that is good for a while yet.
    pub(crate) async fn token(&self) -> Result<String, ClientError> {
        let session = self.session()?;
        let due = session.renew_at_ms.is_some_and(|at| self.now_ms() >= at);
        if due && session.refresh_token.is_some() {
            match self.renew(&session.access_token).await {
                // The old token may have a little life left: let the server decide.
                Err(ClientError::Http(error)) if error.is_transient() => {}
                renewed => return renewed,
            }
        }
        Ok(session.access_token)
    }

    /// Gets a new pair of tokens now.
    ///
    /// # Errors
    ///
    /// [`ClientError::SessionEnded`] if the server no longer knows the session, [`ClientError::SoftLoggedOut`] if there is no
    /// refresh token.
    pub async fn refresh(&self) -> Result<(), ClientError> {
        let stale = self.session()?.access_token;
        self.renew(&stale).await.map(drop)
    }

    /// Replaces `stale` unless somebody has already done so.
    pub(crate) async fn renew(&self, stale: &str) -> Result<String, ClientError> {
        let _one_at_a_time = self.inner.renewal.lock().await;
        let mut session = self.session()?;
        if session.access_token != stale {
            return Ok(session.access_token);
        }
        let Some(refresh_token) = session.refresh_token.clone() else {
            self.end(Ended::NeedsLogin);
            return Err(ClientError::SoftLoggedOut);
        };
        let request = refresh_token::v3::Request::new(refresh_token);
        let sent = self
            .inner
            .http
            .send(request, None, REQUEST_TIMEOUT, JSON_BYTES_MAX)
            .await;
        let answer = sent.map_err(|error| self.ended_by(error))?;
        session.access_token = answer.access_token;
        session.refresh_token = answer.refresh_token.or(session.refresh_token);
        session.renew_at_ms = Session::renew_at(self.now_ms(), answer.expires_in_ms);
        self.keep(&session).await?;
        let token = session.access_token.clone();
        self.set_session(Some(session));
        Ok(token)
    }

    /// A token to try instead of one that the server refused.
    pub(crate) async fn another_token(
        &self,
        refused: &str,
        refusal: HttpError,
    ) -> Result<String, ClientError> {
        // Renewed while the request was under way: a server may end a token's life as soon as its successor is used.
        let current = self.session()?.access_token;
        if current != refused {
            return Ok(current);
        }
        match refusal.unknown_token() {
            Some(true) => self.renew(refused).await,
            _ => Err(self.ended_by(refusal)),
        }
    }

    /// What a refused token means: told to whoever listens, and turned into its error.
    pub(crate) fn ended_by(&self, error: HttpError) -> ClientError {
        match error.unknown_token() {
            Some(true) => {
                self.end(Ended::NeedsLogin);
                ClientError::SoftLoggedOut
            }
            Some(false) => {
                self.end(Ended::ByServer);
                ClientError::SessionEnded
            }
            None => error.into(),
        }
    }

    fn end(&self, ended: Ended) {
        self.notify(Notification::SessionEnded(ended));
    }

    /// Ends the session at the server and destroys the store.
    ///
    /// # Errors
    ///
    /// [`ClientError::Http`] if the server was not reached; the store is kept then, so that it can be tried again.
    pub async fn logout(&self) -> Result<(), ClientError> {
        match self.request(logout::v3::Request::new()).await {
            Ok(_) | Err(ClientError::SessionEnded) => {}
            Err(error) => return Err(error),
        }
        self.wipe().await
    }

    /// Destroys the store, and with it all keys and messages on this device.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if it cannot be destroyed.
    pub async fn wipe(&self) -> Result<(), ClientError> {
        self.set_session(None);
        *self.inner.machine.lock().await = None;
        Ok(self.inner.store.wipe().await?)
    }
}

/// The next stage that can be gone through without a person, in the first flow that has only such stages.
fn next_stage(info: &UiaaInfo, token: Option<&str>) -> Option<AuthData> {
    let possible = |stage: &AuthType| match stage {
        AuthType::Dummy => true,
        AuthType::RegistrationToken => token.is_some(),
        _ => false,
    };
    let flow = info
        .flows
        .iter()
        .find(|flow| flow.stages.iter().all(possible))?;
    let stage = flow
        .stages
        .iter()
        .find(|stage| !info.completed.contains(stage))?;
    if info.auth_error.is_some()
        && info.completed.is_empty()
        && *stage == AuthType::RegistrationToken
    {
        // The token was refused: offering it again cannot help.
        return None;
    }
    match stage {
        AuthType::RegistrationToken => {
            let mut data = RegistrationToken::new(token?.to_owned());
            data.session.clone_from(&info.session);
            Some(AuthData::RegistrationToken(data))
        }
        _ => {
            let mut data = Dummy::new();
            data.session.clone_from(&info.session);
            Some(AuthData::Dummy(data))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(json: serde_json::Value) -> UiaaInfo {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_token_is_renewed_before_it_expires() {
        let life = Some(Duration::from_secs(300));
        assert_eq!(Session::renew_at(1000, life), Some(1000 + 240_000));
        assert_eq!(Session::renew_at(1000, None), None);
    }

    #[test]
    fn stages_without_a_person_are_gone_through() {
        let open = info(serde_json::json!({
            "session": "s", "flows": [{"stages": ["m.login.recaptcha"]}, {"stages": ["m.login.dummy"]}]
        }));
        assert!(matches!(next_stage(&open, None), Some(AuthData::Dummy(_))));
        let token = info(serde_json::json!({
            "session": "s", "flows": [{"stages": ["m.login.registration_token", "m.login.dummy"]}]
        }));
        assert!(next_stage(&token, None).is_none());
        let stage = next_stage(&token, Some("t"));
        assert!(
            matches!(stage, Some(AuthData::RegistrationToken(data)) if data.session.as_deref() == Some("s"))
        );
        let half = info(serde_json::json!({
            "session": "s", "completed": ["m.login.registration_token"],
            "flows": [{"stages": ["m.login.registration_token", "m.login.dummy"]}]
        }));
        assert!(matches!(
            next_stage(&half, Some("t")),
            Some(AuthData::Dummy(_))
        ));
        let refused = info(serde_json::json!({
            "session": "s", "errcode": "M_FORBIDDEN", "error": "no",
            "flows": [{"stages": ["m.login.registration_token"]}]
        }));
        assert!(next_stage(&refused, Some("t")).is_none());
    }
}
