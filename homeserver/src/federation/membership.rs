//! Joining, leaving, knocking and inviting across servers.

pub(crate) mod create_invite;
pub(crate) mod create_join_event;
pub(crate) mod create_knock_event;
pub(crate) mod create_leave_event;
pub(crate) mod older;
pub(crate) mod prepare_join_event;
pub(crate) mod prepare_knock_event;
pub(crate) mod prepare_leave_event;
