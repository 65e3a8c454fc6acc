//! Other networks, of which there are none.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#third-party-networks>

pub(crate) mod get_location_for_protocol;
pub(crate) mod get_location_for_room_alias;
pub(crate) mod get_protocol;
pub(crate) mod get_protocols;
pub(crate) mod get_user_for_protocol;
pub(crate) mod get_user_for_user_id;
