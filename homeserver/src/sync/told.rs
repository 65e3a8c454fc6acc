//! Which members a device was told already, so that lazily loaded ones are not repeated.
//!
//! Invariant: a member counts as told only for a client that presents a token at or above the end
//! of the answer that told it: a lost answer is told again. What is forgotten is told again.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members>

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use quick_cache::sync::Cache;
use ruma::{EventId, OwnedDeviceId, OwnedUserId};

/// Devices of which anything is remembered.
const DEVICES_MAX: usize = 4096;
/// Members that are remembered for a device; beyond that all are forgotten.
const MEMBERS_MAX: usize = 512;

/// By a hash of the member event: the position at the end of the answer that told it.
type Members = Mutex<HashMap<u64, i64>>;

/// What devices were told.
#[derive(Debug)]
pub(super) struct Told {
    devices: Cache<(OwnedUserId, OwnedDeviceId), Arc<Members>>,
    hasher: RandomState,
}

impl Told {
    pub(super) fn new() -> Self {
        Self {
            devices: Cache::new(DEVICES_MAX),
            hasher: RandomState::new(),
        }
    }

    /// Those of the member events that a device whose token ends at `since` has not been told.
    pub(super) fn news<'a>(
        &self,
        device: &(OwnedUserId, OwnedDeviceId),
        since: i64,
        members: impl Iterator<Item = &'a EventId>,
    ) -> Vec<&'a EventId> {
        let Some(told) = self.devices.get(device) else {
            return members.collect();
        };
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        members
            .filter(|id| {
                told.get(&self.hasher.hash_one(id))
                    .is_none_or(|end| *end > since)
            })
            .collect()
    }

    /// Remembers that an answer that ends at `end` tells these member events.
    pub(super) fn tell<'a>(
        &self,
        device: &(OwnedUserId, OwnedDeviceId),
        end: i64,
        members: impl Iterator<Item = &'a EventId>,
    ) {
        let mut members = members.peekable();
        if members.peek().is_none() {
            return;
        }
        let told = match self.devices.get(device) {
            Some(told) => told,
            None => {
                let told = Arc::new(Members::default());
                self.devices.insert(device.clone(), Arc::clone(&told));
                told
            }
        };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        for id in members {
            if told.len() >= MEMBERS_MAX {
                told.clear();
            }
            // An earlier answer that told it counts as well.
            told.entry(self.hasher.hash_one(id)).or_insert(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{event_id, owned_device_id, owned_user_id};

    use super::*;

    #[test]
    fn a_member_is_told_until_the_client_has_it() {
        let told = Told::new();
        let device = (owned_user_id!("@a:x.org"), owned_device_id!("A"));
        let members = [event_id!("$1"), event_id!("$2")];
        told.tell(&device, 10, members[..1].iter().copied());
        assert_eq!(told.news(&device, 9, members.into_iter()), members);
        assert_eq!(told.news(&device, 10, members.into_iter()), members[1..]);
        let other = (owned_user_id!("@a:x.org"), owned_device_id!("B"));
        assert_eq!(told.news(&other, 10, members.into_iter()), members);
    }
}
