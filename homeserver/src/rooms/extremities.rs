//! A room's forward extremities: its newest events, which the next one follows.
//!
//! Invariant: they are at most [`EXTREMITIES_MAX`], as many as one event can name, and none of them is known to have a
//! successor in the room.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#pdus>

use std::{cmp::Reverse, collections::BTreeSet};

use passeur_protocol::{limits::EXTREMITIES_MAX, pdu::Pdu};
use ruma::OwnedEventId;

use super::{
    SendError,
    chain::{Chain, Placed},
};
use crate::store::{RoomRow, StoreError};

impl Chain<'_> {
    /// Makes an event the room's newest; if there are too many beside it, one of the server with
    /// most of them goes, the least deep first, so that nobody crowds out others.
    pub(super) async fn move_extremities(
        &self,
        room: &mut RoomRow,
        pdu: &Pdu,
    ) -> Result<(), SendError> {
        room.extremities.retain(|id| !pdu.prev_events.contains(id));
        if room.extremities.is_empty() || !self.is_passed(pdu).await? {
            room.extremities.push(pdu.event_id.clone());
        }
        while room.extremities.len() > EXTREMITIES_MAX {
            let held = self.events(&room.extremities).await?;
            let server = |id: &OwnedEventId| held.get(id).map(|pdu| pdu.sender.server_name());
            let share = |id: &OwnedEventId| {
                let same = |other: &&OwnedEventId| server(other) == server(id);
                room.extremities.iter().filter(same).count()
            };
            let depth = |id: &OwnedEventId| held.get(id).map_or(0, |pdu| pdu.depth);
            let others = room.extremities.iter().filter(|id| **id != pdu.event_id);
            let last = others.max_by_key(|id| (share(id), Reverse(depth(id)), (*id).clone()));
            let Some(last) = last.cloned() else { break };
            room.extremities.retain(|id| *id != last);
        }
        Ok(())
    }

    /// Whether an event comes after one that names it as predecessor, so that it is no newest one
    /// any more. A state event that replaces what its successor's sender gave as the state is one
    /// all the same: that state was not the one after it.
    async fn is_passed(&self, pdu: &Pdu) -> Result<bool, StoreError> {
        let is_cited = self.append.missing.contains(&pdu.event_id)
            || self
                .context
                .store
                .is_missing(&pdu.room_id, &pdu.event_id)
                .await?;
        let current = pdu.state_place().map(|place| self.state.get(&place));
        Ok(is_cited
            && match current {
                None => true,
                Some(current) => current.is_some_and(|id| !pdu.auth_events.contains(id)),
            })
    }

    /// Resolves the states after the forward extremities. `before` are those of the current state: if
    /// they led to the same states, there is nothing new to be resolved.
    pub(super) async fn resolve_extremities(
        &mut self,
        before: &[OwnedEventId],
        extremities: &[OwnedEventId],
    ) -> Result<Placed, SendError> {
        let groups = self.groups_after(extremities).await?;
        if let [only] = groups.as_slice() {
            return self.state_of(*only).await;
        }
        if let (Some(room), Ok(old)) = (&self.room, self.groups_after(before).await)
            && old == groups
        {
            return Ok(self.current(room.state_group));
        }
        let state = self.resolve_groups(&groups).await?;
        Ok(self.placed(state))
    }

    /// The states that events led to, as groups, each once.
    async fn groups_after(&self, events: &[OwnedEventId]) -> Result<Vec<i64>, StoreError> {
        let mut groups = BTreeSet::new();
        for id in events {
            let after = self.event(id).await?.and_then(|event| event.state_after);
            groups.insert(after.ok_or(StoreError::corrupt("events", "state_after"))?);
        }
        Ok(groups.into_iter().collect())
    }
}
