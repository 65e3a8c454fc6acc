//! Other networks, of which there are none.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#third-party-networks>

pub(crate) mod get_protocols;
