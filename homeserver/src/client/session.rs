//! Logging in, refreshing, logging out.
//!
//! Invariant: every access token belongs to one session of one device.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#legacy-api>

pub(crate) mod get_login_fallback_page;
pub(crate) mod get_login_token;
pub(crate) mod get_login_types;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logout_all;
pub(crate) mod refresh_token;
