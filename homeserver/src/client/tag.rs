//! Tags of rooms, which are the room's account data `m.tag`.
//!
//! Invariant: a tag is changed in one transaction, so that two devices lose none.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-tagging>

pub(crate) mod create_tag;
pub(crate) mod delete_tag;
pub(crate) mod get_tags;

/// The longest name of a tag, in bytes.
const TAG_BYTES_MAX: usize = passeur_protocol::limits::ID_BYTES_MAX;
