//! Counters of what makes a count of unread events stale.
//!
//! Invariant: whatever changes a user's count of a room moves its mark; what happens elsewhere moves it only by chance, which costs
//! one count.
//!
//! No part of the specification.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

/// Counters of each kind: so many users, rooms and places move no others' marks.
const COUNTERS: usize = 2048;

/// How often what concerns a user's room had changed: by user, by room and by both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark([u64; 3]);

/// The counters.
#[derive(Debug)]
pub(super) struct Marks {
    users: Box<[AtomicU64]>,
    rooms: Box<[AtomicU64]>,
    places: Box<[AtomicU64]>,
}

impl Marks {
    pub(super) fn new() -> Self {
        let counters = || (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Self {
            users: counters(),
            rooms: counters(),
            places: counters(),
        }
    }

    /// The mark of a user's room.
    pub(super) fn of<U: AsRef<str>, R: AsRef<str>>(&self, (user, room): &(U, R)) -> Mark {
        let (user, room) = (user.as_ref(), room.as_ref());
        Mark([
            counter(&self.users, user).load(Ordering::Acquire),
            counter(&self.rooms, room).load(Ordering::Acquire),
            counter(&self.places, (user, room)).load(Ordering::Acquire),
        ])
    }

    /// Something has changed for a user, in whatever room.
    pub(super) fn move_user(&self, user: &str) {
        counter(&self.users, user).fetch_add(1, Ordering::AcqRel);
    }

    /// Something has changed in a room, for whatever user.
    pub(super) fn move_room(&self, room: &str) {
        counter(&self.rooms, room).fetch_add(1, Ordering::AcqRel);
    }

    /// Something has changed for a user in a room.
    pub(super) fn move_place<U: AsRef<str>, R: AsRef<str>>(&self, (user, room): &(U, R)) {
        counter(&self.places, (user.as_ref(), room.as_ref())).fetch_add(1, Ordering::AcqRel);
    }
}

fn counter<T: Hash>(counters: &[AtomicU64], of: T) -> &AtomicU64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    let number = usize::try_from(hasher.finish() % COUNTERS as u64).unwrap_or_default();
    &counters[number]
}
