//! Rooms: creating them, and their aliases.

pub(crate) mod get_room_event;
