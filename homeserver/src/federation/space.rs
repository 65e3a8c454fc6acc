//! Spaces, for other servers.

pub(crate) mod get_hierarchy;
