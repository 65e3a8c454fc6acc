//! Rooms: creating them, their aliases, what they look like from outside, and single events of them.

pub(crate) mod aliases;
pub(crate) mod create_room;
pub(crate) mod get_event_by_timestamp;
pub(crate) mod get_expiry_support;
pub(crate) mod get_room_event;
pub(crate) mod get_summary;
pub(crate) mod upgrade_room;
