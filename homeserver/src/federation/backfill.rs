//! History, for servers that are in the room.

pub(crate) mod get_backfill;
