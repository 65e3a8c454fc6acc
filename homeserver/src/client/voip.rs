//! Calls: where the relay is.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#voice-over-ip>

pub(crate) mod get_turn_server_info;
