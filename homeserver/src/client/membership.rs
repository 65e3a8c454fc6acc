//! Membership.

pub(crate) mod get_member_events;
pub(crate) mod joined_members;
pub(crate) mod joined_rooms;
