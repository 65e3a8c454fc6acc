//! Push rules and pushers.
//!
//! Invariant: rules are changed in one transaction each; server-default rules can be switched, not
//! removed.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#push-notifications>

use http::StatusCode;
use ruma::{UserId, api::error::ErrorKind, push::InsertPushRuleError};

use crate::{
    app::App,
    http::error::ApiError,
    store::{EditPushRules, PushRuleEdit, PushRuleError},
};

pub(crate) mod delete_pushrule;
pub(crate) mod get_notifications;
pub(crate) mod get_pushers;
pub(crate) mod get_pushrule;
pub(crate) mod get_pushrule_actions;
pub(crate) mod get_pushrule_enabled;
pub(crate) mod get_pushrules_all;
pub(crate) mod get_pushrules_global_scope;
pub(crate) mod set_pusher;
pub(crate) mod set_pushrule;
pub(crate) mod set_pushrule_actions;
pub(crate) mod set_pushrule_enabled;

/// Changes the rules of a user.
async fn edit(app: &App, user: &UserId, edit: PushRuleEdit) -> Result<(), ApiError> {
    let change = EditPushRules {
        user_id: user.to_owned(),
        edit,
    };
    Ok(app.store.commit(change).await?.output?)
}

fn no_such_rule() -> ApiError {
    ApiError::not_found("There is no such push rule")
}

impl From<PushRuleError> for ApiError {
    fn from(error: PushRuleError) -> Self {
        match error {
            PushRuleError::Insert(InsertPushRuleError::UnknownRuleId) => Self::new(
                StatusCode::BAD_REQUEST,
                ErrorKind::Unknown,
                "The rule to place it by does not exist",
            ),
            PushRuleError::Insert(error) => Self::invalid_param(error.to_string()),
            PushRuleError::ServerDefault => {
                Self::invalid_param("Server-default rules cannot be removed")
            }
            PushRuleError::NotFound => no_such_rule(),
            PushRuleError::TooMany => Self::invalid_param("Too many push rules"),
        }
    }
}
