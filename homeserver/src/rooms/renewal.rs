//! What a commit changes in memory: the caches of events, states, rooms and memberships.
//!
//! Invariant: it happens once the commit is on disk and before anybody is told, and takes nothing from the database.
//!
//! No part of the specification.

use std::sync::Arc;

use ruma::{OwnedEventId, OwnedUserId};

use super::{Rooms, Snapshot};
use crate::store::{Event, Membership, OnDisk, RoomAppend, RoomStateMap, StateGroup, Store};

/// What an append does to events, as far as caches know of it.
struct Renewed {
    events: Vec<Event>,
    /// Events that were held already, as outliers.
    promoted: Vec<OwnedEventId>,
    /// Events whose bodies are gone.
    redacted: Vec<OwnedEventId>,
    /// Events that others of them relate to.
    parents: Vec<OwnedEventId>,
    users: Vec<OwnedUserId>,
    /// Those of the users who are in the room no longer.
    gone: Vec<OwnedUserId>,
}

impl Renewed {
    fn of(append: &RoomAppend) -> Self {
        let (events, members) = (&append.events, &append.members);
        let promoted = events.iter().filter(|new| new.promoted);
        let gone = members
            .iter()
            .filter(|member| member.membership != Some(Membership::Join));
        Self {
            events: events.iter().map(|new| new.event.clone()).collect(),
            promoted: promoted.map(|new| new.event.id().to_owned()).collect(),
            redacted: append.redactions.iter().map(|(id, _)| id.clone()).collect(),
            parents: events
                .iter()
                .filter_map(|new| Some(new.relation.as_ref()?.0.clone()))
                .collect(),
            users: members
                .iter()
                .map(|member| member.user_id.clone())
                .collect(),
            gone: gone.map(|member| member.user_id.clone()).collect(),
        }
    }

    /// Puts the events as they are now into the cache. `positions` are theirs, in their order.
    fn renew_events(&self, store: &Store, positions: &[Option<i64>]) {
        if !self.promoted.is_empty() {
            // A reader that still found the outlier must not put it back over what follows.
            store.forget_events(self.promoted.iter().map(|id| &**id));
        }
        for (event, position) in self.events.iter().zip(positions) {
            store.remember_event(Arc::new(Event {
                position: *position,
                ..event.clone()
            }));
        }
    }
}

impl Rooms {
    /// What brings the caches up to date with an append.
    pub(super) fn renewal(
        &self,
        append: &RoomAppend,
        snapshot: Arc<Snapshot>,
        states: Vec<(Arc<StateGroup>, RoomStateMap)>,
        policy_changes: bool,
    ) -> OnDisk {
        let renewed = Renewed::of(append);
        let own = self.context.server_name.clone();
        let store = Arc::clone(&self.context.store);
        let snapshots = Arc::clone(&self.snapshots);
        let user_rooms = Arc::clone(&self.user_rooms);
        let typing = Arc::clone(&self.context.typing);
        Box::new(move |positions| {
            renewed.renew_events(&store, positions);
            let ours = renewed
                .events
                .iter()
                .filter(|event| event.pdu.sender.server_name() == own);
            store.note_new(ours.map(|event| event.id()));
            store.note_parents(renewed.parents.iter().map(|parent| &**parent));
            if !renewed.redacted.is_empty() {
                store.forget_events(renewed.redacted.iter().map(|id| &**id));
                store.note_residue();
            }
            if policy_changes {
                store.note_policy_changed();
            }
            for (group, state) in &states {
                store.remember_state(Arc::clone(group), state.clone());
            }
            for user in &renewed.users {
                user_rooms.remove(user);
            }
            snapshots.insert(snapshot.room_id.clone(), Arc::clone(&snapshot));
            for user in &renewed.gone {
                typing.stop(&snapshot.room_id, user);
            }
        })
    }
}
