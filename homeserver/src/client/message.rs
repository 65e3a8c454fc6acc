//! Events of a room: sending them.

pub(crate) mod get_message_events;
