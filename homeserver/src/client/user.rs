//! Tokens by which third parties verify who a user is.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#openid>

pub(crate) mod request_openid_token;
