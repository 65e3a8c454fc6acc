//! Filters that clients store.
//!
//! Invariant: the id of a filter is derived from it, so that storing it again gives the same id.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#filtering>

pub(crate) mod create_filter;
pub(crate) mod get_filter;
