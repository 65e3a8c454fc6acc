//! Memberships: joining, leaving, inviting, removing, and who is there.

use serde_json::{Value, json};

pub(crate) mod ban_user;
pub(crate) mod forget_room;
pub(crate) mod get_member_events;
pub(crate) mod get_mutual_rooms;
pub(crate) mod invite_user;
pub(crate) mod join_room_by_id;
pub(crate) mod join_room_by_id_or_alias;
pub(crate) mod joined_members;
pub(crate) mod joined_rooms;
pub(crate) mod kick_user;
pub(crate) mod leave_room;
pub(crate) mod unban_user;

/// The content of a member event that says nothing of how the user appears.
fn content(membership: &str, reason: Option<&str>) -> Value {
    match reason {
        Some(reason) => json!({ "membership": membership, "reason": reason }),
        None => json!({ "membership": membership }),
    }
}
