//! Finding users.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#user-directory>

pub(crate) mod search_users;
