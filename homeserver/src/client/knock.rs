//! Asking to be invited.

pub(crate) mod knock_room;
