//! What an operator does from the command line, beside a running server or without one.
//!
//! Invariant: everything goes through the same changes as the server's own requests; a running
//! server notices within [`super::sessions::TRUSTED_FOR`].

use ruma::{OwnedUserId, UserId};

use super::{Accounts, PasswordError, Registration, RegistrationError};
use crate::store::{
    Account, CreateRegistrationToken, RegistrationToken, RemoveReport, Report,
    RevokeRegistrationToken, SetLocked, SetSuspended, StoreError,
};

/// Letters of a registration token that the server chooses.
const REGISTRATION_TOKEN_CHARS: usize = 16;
/// The longest registration token, in characters.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration>
const REGISTRATION_TOKEN_CHARS_MAX: usize = 64;
/// Accounts read at once when all are listed.
const LIST_PAGE: u64 = 1000;

/// A registration token that is not of the grammar: letters, digits, `.`, `_`, `~`, `-`, at most 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a registration token has 1 to 64 characters out of A-Z a-z 0-9 . _ ~ -")]
pub struct InvalidRegistrationToken;

/// Makes an account that nobody is logged in to.
///
/// # Errors
/// [`RegistrationError`].
pub async fn create_user(
    accounts: &Accounts,
    localpart: &str,
    password: Option<String>,
) -> Result<OwnedUserId, RegistrationError> {
    let user_id = accounts.check_username(Some(localpart)).await?;
    let registration = Registration {
        user_id: user_id.clone(),
        password,
        token: None,
        login: None,
    };
    accounts.register(registration).await?;
    Ok(user_id)
}

/// Replaces a password and ends all sessions. Answers whether there is such an active account.
///
/// # Errors
/// [`PasswordError`].
pub async fn set_password(
    accounts: &Accounts,
    user: &UserId,
    password: &str,
) -> Result<bool, PasswordError> {
    accounts.set_password(user, password, true, None).await
}

/// Ends an account for ever. Answers whether there was an active one.
///
/// # Errors
/// What the database says.
pub async fn deactivate(accounts: &Accounts, user: &UserId) -> Result<bool, StoreError> {
    accounts.deactivate(user).await
}

/// Locks or unlocks an account. Answers whether there is such an account.
///
/// # Errors
/// What the database says.
pub async fn set_locked(
    accounts: &Accounts,
    user: &UserId,
    locked: bool,
) -> Result<bool, StoreError> {
    let change = SetLocked {
        user_id: user.to_owned(),
        locked,
    };
    let found = accounts.store.commit(change).await?.output;
    accounts.sessions.forget_all();
    Ok(found)
}

/// Suspends an account, or ends that. Answers whether there is such an account.
///
/// # Errors
/// What the database says.
pub async fn set_suspended(
    accounts: &Accounts,
    user: &UserId,
    suspended: bool,
) -> Result<bool, StoreError> {
    let change = SetSuspended {
        user_id: user.to_owned(),
        suspended,
    };
    let found = accounts.store.commit(change).await?.output;
    accounts.sessions.forget_all();
    Ok(found)
}

/// What users reported, oldest first.
///
/// # Errors
/// What the database says.
pub async fn list_reports(accounts: &Accounts) -> Result<Vec<Report>, StoreError> {
    accounts.store.reports().await
}

/// Removes a report. Answers whether there was one.
///
/// # Errors
/// What the database says.
pub async fn remove_report(accounts: &Accounts, id: &str) -> Result<bool, StoreError> {
    let change = RemoveReport { id: id.to_owned() };
    Ok(accounts.store.commit(change).await?.output)
}

/// All accounts, deactivated ones included, in the order of their ids.
///
/// # Errors
/// What the database says.
pub async fn list(accounts: &Accounts) -> Result<Vec<Account>, StoreError> {
    let mut all: Vec<Account> = Vec::new();
    loop {
        let after = all.last().map_or("", |account| account.user_id.as_str());
        let page = accounts.store.accounts(after, LIST_PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Makes a registration token, a random one unless `token` is given; none if it exists already.
///
/// # Errors
/// [`InvalidRegistrationToken`] in the inner result; what the database says in the outer.
pub async fn create_registration_token(
    accounts: &Accounts,
    token: Option<String>,
    uses_max: Option<i64>,
    expires_ms: Option<i64>,
) -> Result<Result<Option<RegistrationToken>, InvalidRegistrationToken>, StoreError> {
    let token = token.unwrap_or_else(|| accounts.rng.token(REGISTRATION_TOKEN_CHARS));
    if !is_registration_token(&token) {
        return Ok(Err(InvalidRegistrationToken));
    }
    let change = CreateRegistrationToken {
        token: token.clone(),
        uses_max,
        expires_ms,
        now_ms: accounts.clock.now_ms(),
    };
    let is_new = accounts.store.commit(change).await?.output;
    Ok(Ok(is_new.then_some(RegistrationToken {
        token,
        uses_max,
        uses: 0,
        expires_ms,
    })))
}

/// All registration tokens, oldest first.
///
/// # Errors
/// What the database says.
pub async fn list_registration_tokens(
    accounts: &Accounts,
) -> Result<Vec<RegistrationToken>, StoreError> {
    accounts.store.registration_tokens().await
}

/// Revokes a registration token. Answers whether there was one.
///
/// # Errors
/// What the database says.
pub async fn revoke_registration_token(
    accounts: &Accounts,
    token: &str,
) -> Result<bool, StoreError> {
    let change = RevokeRegistrationToken {
        token: token.to_owned(),
    };
    Ok(accounts.store.commit(change).await?.output)
}

fn is_registration_token(token: &str) -> bool {
    (1..=REGISTRATION_TOKEN_CHARS_MAX).contains(&token.len())
        && token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte))
}
