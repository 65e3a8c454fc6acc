//! Following what happens: sync.

pub(crate) mod socket;
pub(crate) mod sync_events;
pub(crate) mod sync_socket;
