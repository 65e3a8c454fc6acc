//! What surrounds an event.

pub(crate) mod get_context;
