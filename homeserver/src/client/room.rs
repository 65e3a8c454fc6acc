//! Rooms: creating them, and their aliases.

pub(crate) mod aliases;
pub(crate) mod create_room;
pub(crate) mod get_room_event;
