//! Whom a row of the log concerns.
//!
//! Invariant: the text forms of different scopes never collide, because each kind begins with a
//! character of its own and identifiers cannot hold a space.

use std::fmt;

use ruma::{DeviceId, RoomId, ServerName, UserId};

/// Whom a change concerns; what a reader asks the log for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope<'a> {
    /// All who may see the room: events, receipts, changed state.
    Room(&'a RoomId),
    /// One local user: memberships, account data, push rules.
    User(&'a UserId),
    /// Those who share a room with this user: changed devices and cross-signing keys.
    Keys(&'a UserId),
    /// One device: to-device messages.
    Device(&'a UserId, &'a DeviceId),
    /// One remote server: what cannot be derived and is written for it.
    Destination(&'a ServerName),
}

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(f, "r{room}"),
            Self::User(user) => write!(f, "u{user}"),
            Self::Keys(user) => write!(f, "k{user}"),
            Self::Device(user, device) => write!(f, "d{user} {device}"),
            Self::Destination(server) => write!(f, "s{server}"),
        }
    }
}
