//! Why events were allowed.

pub(crate) mod get_event_authorization;
