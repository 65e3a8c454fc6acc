//! Events of a room: sending them.

pub(crate) mod get_message_events;
mod related;
pub(crate) mod send_message_event;
