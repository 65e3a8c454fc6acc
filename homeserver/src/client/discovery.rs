//! What the server is and what it can do.
//!
//! Invariant: nothing is announced that does not work.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-discovery>

pub(crate) mod discover_homeserver;
pub(crate) mod discover_support;
pub(crate) mod get_capabilities;
pub(crate) mod get_supported_versions;
