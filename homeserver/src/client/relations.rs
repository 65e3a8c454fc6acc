//! Events that relate to another: edits, reactions, answers in threads.

pub(crate) mod get_relating_events;
