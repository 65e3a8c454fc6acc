//! From sync responses to what is known of rooms: pure functions, no I/O and no clock.
//!
//! Invariant: what a server says about a room is only ever taken in by [`RoomState::apply`]; encryption is sticky there, so
//! that no later answer can make a room look unencrypted. One event that cannot be read never stops the others.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#syncing>

mod policy;
mod room_state;
mod sync;

pub use policy::{EXPIRY_POLICY_TYPE, ExpiryPolicy};
pub use room_state::{Encryption, Member, Membership, RoomState};
pub(crate) use sync::{SyncDigest, TimelineItem, digest};
