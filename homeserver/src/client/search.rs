//! Searching messages.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#server-side-search>

mod find;
mod request;
pub(crate) mod search_events;
