//! Events and states, for servers that are in the room.

pub(crate) mod get_event;
pub(crate) mod get_event_by_timestamp;
pub(crate) mod get_missing_events;
pub(crate) mod get_room_state;
pub(crate) mod get_room_state_ids;
