//! What other servers are told of a room.
//!
//! Invariant: only a server that is in the room, and that its access control list lets take part,
//! is told anything of it; an event that it may not see is served in its redacted form, so that
//! the graph stays whole. Every event passes the one projection. Work is bounded.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{
    collections::{BinaryHeap, HashMap, HashSet},
    sync::Arc,
};

use passeur_protocol::visibility::{ServerPresence, membership_of, server_may_see, visibility_of};
use ruma::{
    EventId, OwnedEventId, RoomId, ServerName, UserId,
    events::{StateEventType, room::history_visibility::HistoryVisibility},
};
use serde_json::value::RawValue;

use super::{Rooms, SendError, Snapshot, chain::Chain, projection::federation_event};
use crate::store::{Event, EventStatus, Membership, RoomStateMap, StoreError};

/// Events in one answer.
const EVENTS_MAX: usize = 100;
/// Events that are looked at for one answer.
const VISITED_MAX: usize = 2_000;

/// Which events a server lacks.
#[derive(Clone, Copy, Debug)]
pub struct Between<'a> {
    /// What it has.
    pub earliest: &'a [OwnedEventId],
    /// What it wants the predecessors of.
    pub latest: &'a [OwnedEventId],
    /// The least depth that it wants.
    pub min_depth: u64,
}

/// Why a server is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// There is no such room or event here, or the server may not know of it.
    #[error("unknown to this server")]
    Unknown,
    /// The server is not in the room, or its access control list names it.
    #[error("not allowed")]
    Forbidden,
    /// The database failed; it was logged.
    #[error("storage")]
    Storage,
}

impl From<StoreError> for ServeError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a room could not be read");
        Self::Storage
    }
}

impl From<SendError> for ServeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Storage | SendError::Damaged => Self::Storage,
            _ => Self::Unknown,
        }
    }
}

impl Rooms {
    /// A room for a server that is in it.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn room_for(
        &self,
        server: &ServerName,
        room: &RoomId,
    ) -> Result<Arc<Snapshot>, ServeError> {
        let snapshot = self.snapshot(room).await?.ok_or(ServeError::Unknown)?;
        if !snapshot.members.has_server(server) || !self.may_take_part(&snapshot, server).await? {
            return Err(ServeError::Forbidden);
        }
        Ok(snapshot)
    }

    /// One event for a server.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn event_for(
        &self,
        server: &ServerName,
        id: &EventId,
    ) -> Result<Box<RawValue>, ServeError> {
        let event = self
            .context
            .store
            .event(id)
            .await?
            .ok_or(ServeError::Unknown)?;
        if event.status == EventStatus::Rejected {
            return Err(ServeError::Unknown);
        }
        let snapshot = self.room_for(server, &event.pdu.room_id).await;
        let snapshot = snapshot.map_err(|_| ServeError::Unknown)?;
        let mut served = self.show(server, &snapshot, vec![event]).await?;
        served.pop().ok_or(ServeError::Unknown)
    }

    /// The state before an event, and the auth chain of that state: ids.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn state_ids_for(
        &self,
        server: &ServerName,
        room: &RoomId,
        id: &EventId,
    ) -> Result<(Vec<OwnedEventId>, Vec<OwnedEventId>), ServeError> {
        let snapshot = self.room_for(server, room).await?;
        let event = self.context.store.event(id).await?;
        let event = event
            .filter(|event| event.pdu.room_id == room && event.status != EventStatus::Rejected);
        let event = event.ok_or(ServeError::Unknown)?;
        let Some(group) = event.state_before else {
            // "prior to considering any state changes induced by the requested event": before the first there is none.
            let is_first =
                event.status == EventStatus::Accepted && event.pdu.prev_events.is_empty();
            return match is_first {
                true => Ok((Vec::new(), Vec::new())),
                false => Err(ServeError::Unknown),
            };
        };
        let state = self.context.store.state_at(group).await?;
        let ids: Vec<_> = state.values().cloned().collect();
        let chain = self.auth_chain_of(&snapshot, ids.clone()).await?;
        Ok((ids, chain))
    }

    /// The auth chain of events.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn auth_chain_of(
        &self,
        snapshot: &Snapshot,
        ids: Vec<OwnedEventId>,
    ) -> Result<Vec<OwnedEventId>, ServeError> {
        let chain = Chain::on(&self.context, snapshot);
        let ids = chain.auth_chain(ids, &mut HashMap::new()).await?;
        Ok(super::offer::sorted(ids))
    }

    /// Events by id, for a server that is in the room and is told its state as a whole.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn pdus(&self, ids: &[OwnedEventId]) -> Result<Vec<Box<RawValue>>, ServeError> {
        let now = self.showing_ms();
        let events = self.context.store.events(ids).await?;
        Ok(events
            .iter()
            .filter_map(|event| raw(federation_event(event, now)))
            .collect())
    }

    /// What lies before some events, newest first, these included.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn backfill_for(
        &self,
        server: &ServerName,
        room: &RoomId,
        from: &[OwnedEventId],
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>, ServeError> {
        let snapshot = self.room_for(server, room).await?;
        let stop = HashSet::new();
        let events = self
            .walk_back(room, from, &stop, limit.min(EVENTS_MAX))
            .await?;
        self.show(server, &snapshot, events).await
    }

    /// What lies between some events and others, both excluded, oldest first.
    ///
    /// # Errors
    /// See [`ServeError`].
    pub async fn missing_events_for(
        &self,
        server: &ServerName,
        room: &RoomId,
        between: Between<'_>,
        limit: usize,
    ) -> Result<Vec<Box<RawValue>>, ServeError> {
        let Between {
            earliest,
            latest,
            min_depth,
        } = between;
        let snapshot = self.room_for(server, room).await?;
        let stop: HashSet<_> = earliest.iter().cloned().collect();
        let known = self.context.store.events(latest).await?;
        let known = known.iter().filter(|event| event.pdu.room_id == room);
        let before: Vec<_> = known
            .flat_map(|event| event.pdu.prev_events.clone())
            .collect();
        let mut events = self
            .walk_back(room, &before, &stop, limit.min(EVENTS_MAX))
            .await?;
        events.retain(|event| event.pdu.depth >= min_depth);
        events.reverse();
        self.show(server, &snapshot, events).await
    }

    /// Events from `from` backwards, deepest first, at most `limit`.
    async fn walk_back(
        &self,
        room: &RoomId,
        from: &[OwnedEventId],
        stop: &HashSet<OwnedEventId>,
        limit: usize,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut seen: HashSet<OwnedEventId> = HashSet::new();
        let mut heap: BinaryHeap<(u64, OwnedEventId)> = BinaryHeap::new();
        let mut held: HashMap<OwnedEventId, Arc<Event>> = HashMap::new();
        let mut next: Vec<OwnedEventId> = from.to_vec();
        let mut found = Vec::new();
        while found.len() < limit && seen.len() < VISITED_MAX {
            next.retain(|id| !stop.contains(id) && seen.insert(id.clone()));
            for event in self.context.store.events(&next).await? {
                // What was soft-failed is part of the graph all the same: others may have built on it.
                let is_placed = match event.status {
                    // A redaction without effect is shown to nobody, and part of the graph all the same. So is what was
                    // rejected: it is not told, but what lies before it is.
                    EventStatus::Accepted | EventStatus::Rejected => event.state_after.is_some(),
                    EventStatus::SoftFailed => true,
                    EventStatus::Outlier => false,
                };
                if event.pdu.room_id == room && is_placed {
                    heap.push((event.pdu.depth, event.id().to_owned()));
                    held.insert(event.id().to_owned(), event);
                }
            }
            let Some((_, id)) = heap.pop() else { break };
            let Some(event) = held.remove(&id) else { break };
            next = event.pdu.prev_events.clone();
            if event.status != EventStatus::Rejected {
                found.push(event);
            }
        }
        Ok(found)
    }

    /// Events as a server may see them.
    async fn show(
        &self,
        server: &ServerName,
        snapshot: &Snapshot,
        events: Vec<Arc<Event>>,
    ) -> Result<Vec<Box<RawValue>>, ServeError> {
        let now = self.showing_ms();
        let mut served = Vec::with_capacity(events.len());
        for event in events {
            let bytes = if self.server_sees(server, snapshot, &event).await? {
                federation_event(&event, now)
            } else {
                event.skeleton.to_vec()
            };
            served.extend(raw(bytes));
        }
        Ok(served)
    }

    /// Whether one of the server's users may see an event.
    pub(super) async fn server_sees(
        &self,
        server: &ServerName,
        snapshot: &Snapshot,
        event: &Event,
    ) -> Result<bool, StoreError> {
        let store = &self.context.store;
        let state = match event.state_before {
            Some(group) => store.state_at(group).await?,
            None => RoomStateMap::default(),
        };
        let place = (StateEventType::RoomHistoryVisibility, String::new());
        let visibility = match state.get(&place) {
            Some(id) => store.event(id).await?,
            None => None,
        };
        let visibility = visibility_of(visibility.as_ref().map(|event| &*event.pdu));
        let mut presence = ServerPresence {
            joined_after: snapshot.members.has_server(server),
            ..ServerPresence::default()
        };
        let restricted = matches!(
            visibility,
            HistoryVisibility::Joined | HistoryVisibility::Invited
        );
        if restricted {
            let members: Vec<OwnedEventId> = state
                .iter()
                .filter(|((kind, key), _)| {
                    *kind == StateEventType::RoomMember
                        && <&UserId>::try_from(key.as_str())
                            .is_ok_and(|user| user.server_name() == server)
                })
                .map(|(_, id)| id.clone())
                .collect();
            for member in store.events(&members).await? {
                match membership_of(Some(&member.pdu)) {
                    Membership::Join => presence.was_joined = true,
                    Membership::Invite => presence.was_invited = true,
                    _ => {}
                }
            }
        }
        Ok(server_may_see(&event.pdu, server, &visibility, presence))
    }
}

/// Bytes of a PDU as raw JSON.
fn raw(bytes: Vec<u8>) -> Option<Box<RawValue>> {
    String::from_utf8(bytes)
        .ok()
        .and_then(|json| RawValue::from_string(json).ok())
}
