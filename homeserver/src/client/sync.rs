//! Following what happens: sync.

pub(crate) mod sync_events;
