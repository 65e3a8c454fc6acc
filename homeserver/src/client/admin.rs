//! Administration of the server by its administrators.
//!
//! Invariant: whether the requester is an administrator is decided before anything is looked up, so that nobody else learns which
//! accounts exist.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-administration>

pub(crate) mod get_user_info;
pub(crate) mod is_user_locked;
pub(crate) mod is_user_suspended;
pub(crate) mod lock_user;
pub(crate) mod suspend_user;

use ruma::UserId;

use crate::{
    app::App,
    http::{error::ApiError, requester::Requester},
    store::{Account, AccountState},
};

/// The account of a local user, for an administrator.
///
/// # Errors
/// `M_FORBIDDEN` if the requester is no administrator, or the user is another one; `M_INVALID_PARAM` if the user belongs to another
/// server; `M_NOT_FOUND` if there is no such account, or no longer.
async fn account_for_admin(
    app: &App,
    requester: &Requester,
    user: &UserId,
) -> Result<Account, ApiError> {
    let admins = &app.config.admin;
    if !admins.is_admin(&requester.user_id) {
        return Err(ApiError::forbidden("You are not a server administrator"));
    }
    if !app.accounts.is_local(user) {
        return Err(ApiError::invalid_param(
            "The user does not belong to this server",
        ));
    }
    if admins.is_admin(user) {
        return Err(ApiError::forbidden(
            "This is not done to a server administrator",
        ));
    }
    let account = app.store.account(user).await?;
    account
        .filter(|account| account.state != AccountState::Deactivated)
        .ok_or_else(|| ApiError::not_found("There is no such user"))
}
