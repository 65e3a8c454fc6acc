//! Which members a device was told already, so that lazily loaded ones are not repeated.
//!
//! Invariant: a member counts as told only after the client has presented the token that ended the
//! answer with it, and only for tokens at or above that one: a lost answer is told again. What is
//! forgotten is told again too.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members>

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quick_cache::sync::Cache;
use ruma::{EventId, OwnedDeviceId, OwnedUserId};

/// Devices of which anything is remembered.
const DEVICES_MAX: usize = 4096;
/// Members that are remembered for a device; beyond that all are forgotten.
const MEMBERS_MAX: usize = 512;

/// Whom members are told to.
pub(super) type Device = (OwnedUserId, OwnedDeviceId);

/// A member event that was told.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// The position at the end of the answer that told it.
    end: i64,
    /// Whether the client has presented that position since.
    received: bool,
}

/// By a hash of the member event.
type Members = Mutex<HashMap<u64, Member>>;

/// What devices were told.
#[derive(Debug)]
pub(super) struct Told {
    devices: Cache<Device, Arc<Members>>,
    hasher: RandomState,
}

impl Told {
    pub(super) fn new() -> Self {
        Self {
            devices: Cache::new(DEVICES_MAX),
            hasher: RandomState::new(),
        }
    }

    /// The device has presented a token that ends at `since`: it has the answer that ended there,
    /// and will never see what was told between its tokens.
    pub(super) fn received(&self, device: &Device, since: i64) {
        let Some(told) = self.devices.get(device) else {
            return;
        };
        lock(&told).retain(|_, member| {
            member.received |= member.end == since;
            member.received || member.end > since
        });
    }

    /// Those of the member events that a device whose token ends at `since` has not been told.
    pub(super) fn news<'a>(
        &self,
        device: &Device,
        since: i64,
        members: impl Iterator<Item = &'a EventId>,
    ) -> Vec<&'a EventId> {
        let Some(told) = self.devices.get(device) else {
            return members.collect();
        };
        let told = lock(&told);
        let knows = |id: &&EventId| {
            let member = told.get(&self.hasher.hash_one(id));
            member.is_some_and(|member| member.received && member.end <= since)
        };
        members.filter(|id| !knows(id)).collect()
    }

    /// Remembers that an answer that ends at `end` tells these member events.
    pub(super) fn tell<'a>(
        &self,
        device: &Device,
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
        let mut told = lock(&told);
        for id in members {
            if told.len() >= MEMBERS_MAX {
                told.clear();
            }
            let member = Member {
                end,
                received: false,
            };
            match told.entry(self.hasher.hash_one(id)) {
                Entry::Vacant(entry) => {
                    entry.insert(member);
                }
                Entry::Occupied(mut entry) if !entry.get().received => {
                    entry.insert(member);
                }
                Entry::Occupied(_) => {}
            }
        }
    }
}

fn lock(members: &Members) -> MutexGuard<'_, HashMap<u64, Member>> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(told.news(&device, 10, members.into_iter()), members);
        told.received(&device, 10);
        assert_eq!(told.news(&device, 9, members.into_iter()), members);
        assert_eq!(told.news(&device, 10, members.into_iter()), members[1..]);
        let other = (owned_user_id!("@a:x.org"), owned_device_id!("B"));
        assert_eq!(told.news(&other, 10, members.into_iter()), members);
    }

    #[test]
    fn a_lost_answer_has_told_nothing() {
        let told = Told::new();
        let device = (owned_user_id!("@a:x.org"), owned_device_id!("A"));
        let member = event_id!("$1");
        told.tell(&device, 10, [member].into_iter());
        // The client came back with an older token, and got an answer that did not tell it.
        told.received(&device, 5);
        told.received(&device, 20);
        assert_eq!(told.news(&device, 20, [member].into_iter()), [member]);
    }
}
