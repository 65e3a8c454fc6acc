//! A room's history from peers, when somebody pages beyond what is held.
//!
//! Invariant: backfilled events get room orders below the oldest held, and no position: they are
//! history, not news. They are verified like any event, and judged by their auth events and the
//! state that their neighbours had.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#backfilling>

use std::sync::Arc;

use passeur_protocol::signed::SignedPdu;
use ruma::{
    OwnedEventId, OwnedServerName, RoomId, ServerName,
    api::federation::backfill::get_backfill::v1 as get_backfill,
};

use super::{ReceiveError, Rooms, Snapshot, receive::Budget};
use crate::store::{EventStatus, RoomAppend, RoomStateMap};

/// Servers that are asked for history.
const SERVERS_MAX: usize = 3;

impl Rooms {
    /// Fetches about `limit` events before the oldest that is held; answers whether any came.
    ///
    /// # Errors
    /// What the database says; peers that do not answer have nothing.
    pub async fn backfill(
        self: &Arc<Self>,
        room: &RoomId,
        limit: u32,
    ) -> Result<bool, ReceiveError> {
        let Some(snapshot) = self.snapshot(room).await? else {
            return Ok(false);
        };
        let gaps = self.context.store.missing_events(room).await?;
        if gaps.is_empty() || snapshot.members.local_joined.is_empty() {
            return Ok(false);
        }
        for server in self.others_in(&snapshot) {
            let request = get_backfill::Request::new(room.to_owned(), gaps.clone(), limit.into());
            let bounds = self.context.remote.large();
            let Ok(answer) = self.context.remote.call(&server, request, bounds).await else {
                continue;
            };
            let mut events = self.verify_all(&snapshot, &answer.pdus).await;
            // Newest first: each is then before what is held.
            events.sort_by(|a, b| {
                (b.pdu().depth, &b.pdu().event_id).cmp(&(a.pdu().depth, &a.pdu().event_id))
            });
            if self.take_history(&server, &snapshot, events).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn others_in(&self, snapshot: &Snapshot) -> Vec<OwnedServerName> {
        let servers = snapshot.members.servers.keys();
        let others = servers.filter(|server| **server != self.context.server_name);
        others.take(SERVERS_MAX).cloned().collect()
    }

    /// Stores history, newest first, below the oldest event that is held.
    async fn take_history(
        self: &Arc<Self>,
        server: &ServerName,
        snapshot: &Snapshot,
        events: Vec<SignedPdu>,
    ) -> Result<bool, ReceiveError> {
        let mut placed = Vec::new();
        let mut budget = Budget::default();
        let Some(oldest) = events.last() else {
            return Ok(false);
        };
        // The state before the oldest leads, over the events in between, to that of the others.
        // Before a room's first event there is none.
        let mut state = if oldest.pdu().prev_events.is_empty() {
            RoomStateMap::default()
        } else {
            let oldest = &oldest.pdu().event_id;
            match self
                .fetch_state(server, snapshot, oldest, &mut budget)
                .await
            {
                Err(ReceiveError::Storage) => return Err(ReceiveError::Storage),
                Err(_) => return Ok(false),
                Ok(state) => state,
            }
        };
        for signed in events.iter().rev() {
            if self
                .fetch_auth_events(server, snapshot, signed, &mut budget)
                .await
                .is_err()
            {
                continue;
            }
            let before = state.clone();
            if let Some(place) = signed.pdu().state_place() {
                state.insert(place, signed.pdu().event_id.clone());
            }
            placed.push((signed.clone(), before));
        }
        placed.reverse();
        self.append_history(snapshot, placed).await
    }

    /// Appends history to the room: newest first, each one room order below the one before.
    async fn append_history(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        events: Vec<(SignedPdu, RoomStateMap)>,
    ) -> Result<bool, ReceiveError> {
        let _turn = self.history.lock().await;
        let current = self
            .snapshot(&snapshot.room_id)
            .await?
            .ok_or(ReceiveError::UnknownRoom)?;
        let mut chain = super::chain::Chain::on(&self.context, &current);
        let mut row = current.row.clone();
        let mut new: Vec<OwnedEventId> = Vec::new();
        let mut missing: Vec<OwnedEventId> = Vec::new();
        // Oldest first, since what relates to an event expires with it at the latest.
        for (signed, before) in events.iter().rev() {
            let pdu = signed.pdu();
            let held = self.context.store.event(&pdu.event_id).await?;
            let is_outlier = held
                .as_ref()
                .is_some_and(|event| event.status == EventStatus::Outlier);
            if held.is_some() && !is_outlier {
                continue;
            }
            let before = chain.placed(before.clone());
            let after = chain.state_after(pdu, &before);
            let (before, after) = (Some(before.group), Some(after.group));
            let event = chain
                .new_event(signed, EventStatus::Accepted, before, after)
                .await?;
            new.push(pdu.event_id.clone());
            missing.extend(pdu.prev_events.iter().cloned());
            chain.push(event, None, is_outlier);
        }
        for added in chain.append.events.iter_mut().rev() {
            row.order_min -= 1;
            added.event.room_order = Some(row.order_min);
        }
        if new.is_empty() {
            return Ok(false);
        }
        missing.retain(|id| !new.contains(id));
        row.tip += 1;
        chain.room = Some(row);
        let unheld = self.missing(&missing).await?;
        chain.append = RoomAppend {
            missing: unheld,
            found: new,
            ..std::mem::take(&mut chain.append)
        };
        // If the room moved meanwhile, the client asks again.
        Ok(self.commit(chain).await?.is_ok())
    }
}
