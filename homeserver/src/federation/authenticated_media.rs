//! Media of our users, for other servers.

pub(crate) mod get_content;
pub(crate) mod get_content_thumbnail;
