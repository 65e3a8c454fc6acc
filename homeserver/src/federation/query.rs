//! What other servers may ask of our users and aliases.

pub(crate) mod get_profile_information;
pub(crate) mod get_room_information;
