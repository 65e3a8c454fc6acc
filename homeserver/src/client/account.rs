//! Accounts: making, changing and ending them.
//!
//! Invariant: what a stolen access token must not be able to do asks for the password again.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#account-registration-and-management>

pub(crate) mod add_3pid;
pub(crate) mod bind_3pid;
pub(crate) mod change_password;
pub(crate) mod check_registration_token_validity;
pub(crate) mod deactivate;
pub(crate) mod delete_3pid;
pub(crate) mod get_3pids;
pub(crate) mod get_username_availability;
pub(crate) mod provision;
pub(crate) mod register;
pub(crate) mod request_3pid_management_token_via_email;
pub(crate) mod request_3pid_management_token_via_msisdn;
pub(crate) mod request_password_change_token_via_email;
pub(crate) mod request_password_change_token_via_msisdn;
pub(crate) mod request_registration_token_via_email;
pub(crate) mod request_registration_token_via_msisdn;
mod third_party;
pub(crate) mod unbind_3pid;
pub(crate) mod whoami;
