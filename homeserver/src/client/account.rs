//! Accounts: making, changing and ending them.
//!
//! Invariant: what a stolen access token must not be able to do asks for the password again.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#account-registration-and-management>

pub(crate) mod change_password;
pub(crate) mod check_registration_token_validity;
pub(crate) mod deactivate;
pub(crate) mod get_3pids;
pub(crate) mod get_username_availability;
pub(crate) mod provision;
pub(crate) mod register;
pub(crate) mod whoami;
