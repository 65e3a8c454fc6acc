//! Missing events, from peers: auth events, predecessors, states.
//!
//! Invariant: whatever a peer answers is verified like any other event, and taken only if it
//! belongs to the room; the work for one event stays within its [`Budget`].
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use passeur_protocol::{
    check, expiry,
    pdu::Pdu,
    signed::{RawPdu, SignedPdu},
};
use ruma::{
    EventId, OwnedEventId, ServerName,
    api::federation::{
        authorization::get_event_authorization::v1 as get_event_auth,
        event::{
            get_event::v1 as get_event, get_missing_events::v1 as get_missing_events,
            get_room_state_ids::v1 as get_room_state_ids,
        },
    },
};
use serde_json::value::RawValue;

use super::{
    ReceiveError, Rooms, Snapshot, chain::bare_event, order::predecessors_first, receive::Budget,
};
use crate::store::{
    Event, EventStatus, LogKind, NewEvent, RoomAppend, RoomStateMap, StateKey, StoreError,
};

/// Events that are asked for one by one; more are asked for as a whole auth chain or state.
const SINGLE_MAX: usize = 50;
/// Events that are asked for one by one, with what they cite, before a whole auth chain is.
const LAYERS_EVENTS_MAX: usize = 15;
/// Events of a peer's state that may be missing, if none of them can be what an event is judged by.
const HOLES_MAX: usize = 3;
/// Of how many events of a state one may be missing, if there are more.
const EVENTS_PER_HOLE: usize = 20;
/// Predecessors that are asked for at once.
const MISSING_MAX: u32 = 50;
/// How often the events of an answer are gone over to find those whose ancestors are judged.
const PASSES_MAX: usize = 100;

impl Rooms {
    /// Makes sure that an event's auth events are held.
    pub(super) async fn fetch_auth_events(
        self: &Arc<Self>,
        origin: &ServerName,
        snapshot: &Snapshot,
        signed: &SignedPdu,
        budget: &mut Budget,
    ) -> Result<(), ReceiveError> {
        let pdu = signed.pdu();
        let unknown = self.unknown(&pdu.auth_events).await?;
        if unknown.is_empty() {
            return Ok(());
        }
        // Mostly it is one event that lacks, while the whole chain may be long.
        self.fetch_layers(origin, snapshot, unknown, budget).await?;
        if self.unknown(&pdu.auth_events).await?.is_empty() {
            return Ok(());
        }
        budget.request()?;
        let request = get_event_auth::Request::new(pdu.room_id.clone(), pdu.event_id.clone());
        let bounds = self.context.remote.large();
        if let Ok(answer) = self.context.remote.call(origin, request, bounds).await {
            let new = self.not_held(snapshot, answer.auth_chain).await?;
            budget.take(new.len())?;
            let events = self.verify_all(snapshot, &new).await;
            self.store_outliers(snapshot, events).await?;
        }
        match self.unknown(&pdu.auth_events).await?.is_empty() {
            true => Ok(()),
            false => Err(ReceiveError::Unplaced),
        }
    }

    /// Asks for events one by one, and for what they cite, as long as it is not much.
    async fn fetch_layers(
        &self,
        origin: &ServerName,
        snapshot: &Snapshot,
        mut wanted: Vec<OwnedEventId>,
        budget: &mut Budget,
    ) -> Result<(), ReceiveError> {
        let mut fetched: Vec<SignedPdu> = Vec::new();
        while !wanted.is_empty() && fetched.len() + wanted.len() <= LAYERS_EVENTS_MAX {
            let layer = self.ask_for(origin, snapshot, wanted, budget).await?;
            let cited: BTreeSet<OwnedEventId> = layer
                .iter()
                .flat_map(|signed| signed.pdu().auth_events.iter().cloned())
                .collect();
            fetched.extend(layer);
            let mut next = self.unknown(&cited.into_iter().collect::<Vec<_>>()).await?;
            next.retain(|id| fetched.iter().all(|signed| signed.pdu().event_id != *id));
            wanted = next;
        }
        Ok(self.store_outliers(snapshot, fetched).await?)
    }

    /// Those events of an answer that are not held, unverified; what is no event is left out.
    async fn not_held(
        &self,
        snapshot: &Snapshot,
        events: Vec<Box<RawValue>>,
    ) -> Result<Vec<Box<RawValue>>, StoreError> {
        let id = |event: &RawValue| {
            let event = RawPdu::parse(event.get().as_bytes()).ok()?;
            let event = event.check_format(snapshot.rules).ok()?;
            Some(event.pdu().event_id.clone())
        };
        let events: Vec<_> = events
            .into_iter()
            .filter_map(|event| Some((id(&event)?, event)))
            .collect();
        let ids: Vec<_> = events.iter().map(|(id, _)| id.clone()).collect();
        let unknown: BTreeSet<_> = self.unknown(&ids).await?.into_iter().collect();
        let new = events.into_iter().filter(|(id, _)| unknown.contains(id));
        Ok(new.map(|(_, event)| event).collect())
    }

    /// Asks for what lies between our extremities and an event, and takes what comes.
    pub(super) async fn fetch_missing(
        self: &Arc<Self>,
        origin: &ServerName,
        snapshot: &Snapshot,
        pdu: &Pdu,
        budget: &mut Budget,
    ) -> Result<(), ReceiveError> {
        budget.request()?;
        let mut request = get_missing_events::Request::new(
            pdu.room_id.clone(),
            snapshot.extremities.clone(),
            vec![pdu.event_id.clone()],
        );
        request.limit = MISSING_MAX.into();
        let bounds = self.context.remote.large();
        let Ok(answer) = self.context.remote.call(origin, request, bounds).await else {
            return Ok(());
        };
        budget.take(answer.events.len())?;
        let events = self.verify_all(snapshot, &answer.events).await;
        for (index, signed) in predecessors_first(events).into_iter().enumerate() {
            let missing = self
                .missing(&signed.pdu().room_id, &signed.pdu().prev_events)
                .await;
            let known = match missing {
                Ok(missing) => missing.is_empty(),
                Err(error) if error.is_passing() => return Err(error),
                Err(_) => continue,
            };
            // Only the oldest may need a state from the peer: the others follow it.
            if !known && index > 0 {
                continue;
            }
            let settled = self.settle_known(origin, snapshot, signed, budget).await;
            if let Err(error) = settled
                && error.is_passing()
            {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Settles an event without looking for more predecessors.
    async fn settle_known(
        self: &Arc<Self>,
        origin: &ServerName,
        snapshot: &Snapshot,
        signed: SignedPdu,
        budget: &mut Budget,
    ) -> Result<OwnedEventId, ReceiveError> {
        self.fetch_auth_events(origin, snapshot, &signed, budget)
            .await?;
        let missing = self
            .missing(&signed.pdu().room_id, &signed.pdu().prev_events)
            .await?;
        let state_before = if missing.is_empty() {
            None
        } else {
            let pdu = Arc::clone(signed.pdu());
            Some(self.fetch_state(origin, snapshot, &pdu, budget).await?)
        };
        let room = signed.pdu().room_id.clone();
        let offer = super::Offer {
            signed: self
                .with_recommendation_within(snapshot, signed, budget)
                .await?,
            log: LogKind::Event,
            state_before,
            missing,
        };
        Ok(self
            .enqueue(room, super::queue::Work::Offer(Arc::new(offer)))
            .await?)
    }

    /// The state before an event, as a peer says: its events are fetched, verified and judged.
    pub(super) async fn fetch_state(
        self: &Arc<Self>,
        origin: &ServerName,
        snapshot: &Snapshot,
        pdu: &Pdu,
        budget: &mut Budget,
    ) -> Result<RoomStateMap, ReceiveError> {
        budget.request()?;
        let event = &pdu.event_id;
        let request = get_room_state_ids::Request::new(event.clone(), snapshot.room_id.clone());
        let bounds = self.context.remote.large();
        let answer = self.context.remote.call(origin, request, bounds).await;
        let answer = answer.map_err(|_| ReceiveError::Unplaced)?;
        let mut wanted = answer.auth_chain_ids;
        wanted.extend(answer.pdu_ids.iter().cloned());
        let unknown = self.unknown(&wanted).await?;
        let is_whole = if unknown.len() > SINGLE_MAX {
            false
        } else {
            match self.fetch_single(origin, snapshot, unknown, budget).await {
                Ok(()) => true,
                Err(ReceiveError::Unplaced) => false,
                Err(error) => return Err(error),
            }
        };
        if !is_whole {
            self.fetch_whole_state(origin, snapshot, event, budget)
                .await?;
        }
        let mut state = RoomStateMap::default();
        let held = self.context.store.events(&answer.pdu_ids).await?;
        let holes = answer.pdu_ids.len().saturating_sub(held.len());
        for event in held {
            if event.status != EventStatus::Rejected
                && event.pdu.room_id == snapshot.room_id
                && let Some(place) = event.pdu.state_place()
            {
                state.insert(place, event.id().to_owned());
            }
        }
        // Nobody knows what a hole would say. Where one could decide over the event, or many over
        // what follows, there is no state rather than a wrong one.
        let is_vital = |place: &StateKey| !state.contains_key(place);
        let needs = check::needs(pdu, snapshot.rules).map_err(|_| ReceiveError::Rejected)?;
        let holes_max = HOLES_MAX.max(answer.pdu_ids.len() / EVENTS_PER_HOLE);
        let is_doubtful = holes > holes_max || holes > 0 && needs.state.iter().any(is_vital);
        match is_doubtful || state.is_empty() {
            true => Err(ReceiveError::Unplaced),
            false => Ok(state),
        }
    }

    /// A whole state with its auth chain, in one answer.
    async fn fetch_whole_state(
        self: &Arc<Self>,
        origin: &ServerName,
        snapshot: &Snapshot,
        event: &EventId,
        budget: &mut Budget,
    ) -> Result<(), ReceiveError> {
        use ruma::api::federation::event::get_room_state::v1 as get_room_state;
        budget.request()?;
        let request = get_room_state::Request::new(event.to_owned(), snapshot.room_id.clone());
        let bounds = self.context.remote.large();
        let answer = self.context.remote.call(origin, request, bounds).await;
        let answer = answer.map_err(|_| ReceiveError::Unplaced)?;
        let mut events = self.verify_all(snapshot, &answer.auth_chain).await;
        events.extend(self.verify_all(snapshot, &answer.pdus).await);
        Ok(self.store_outliers(snapshot, events).await?)
    }

    /// Events one by one, stored.
    async fn fetch_single(
        &self,
        origin: &ServerName,
        snapshot: &Snapshot,
        ids: Vec<OwnedEventId>,
        budget: &mut Budget,
    ) -> Result<(), ReceiveError> {
        let events = self.ask_for(origin, snapshot, ids, budget).await?;
        Ok(self.store_outliers(snapshot, events).await?)
    }

    /// Events one by one, verified.
    async fn ask_for(
        &self,
        origin: &ServerName,
        snapshot: &Snapshot,
        ids: Vec<OwnedEventId>,
        budget: &mut Budget,
    ) -> Result<Vec<SignedPdu>, ReceiveError> {
        let mut events = Vec::new();
        for id in ids {
            budget.request()?;
            let request = get_event::Request::new(id.clone());
            let bounds = self.context.remote.large();
            let answer = match self.context.remote.call(origin, request, bounds).await {
                Ok(answer) => answer,
                // It does not have it; what did not come through may exist all the same.
                Err(error) if error.is_final() => continue,
                Err(_) => return Err(ReceiveError::Unplaced),
            };
            let verified = self
                .verify_all(snapshot, std::slice::from_ref(&answer.pdu))
                .await;
            events.extend(
                verified
                    .into_iter()
                    .filter(|signed| signed.pdu().event_id == id),
            );
        }
        Ok(events)
    }

    /// Those events of an answer that hold and belong to the room.
    pub(super) async fn verify_all(
        &self,
        snapshot: &Snapshot,
        events: &[Box<RawValue>],
    ) -> Vec<SignedPdu> {
        let mut verified = Vec::with_capacity(events.len());
        for event in events {
            if let Ok(signed) = self.verify(event, snapshot.rules).await
                && signed.pdu().room_id == snapshot.room_id
            {
                verified.push(signed);
            }
        }
        verified
    }

    /// Stores events without a place in the graph, each judged by its auth events.
    pub(super) async fn store_outliers(
        &self,
        snapshot: &Snapshot,
        events: Vec<SignedPdu>,
    ) -> Result<(), StoreError> {
        let judged = self.judge_outliers(snapshot, events).await?;
        if judged.is_empty() {
            return Ok(());
        }
        let events = judged
            .into_iter()
            .map(|event| NewEvent {
                event,
                log: None,
                relation: None,
                promoted: false,
            })
            .collect();
        let append = RoomAppend {
            room_id: Some(snapshot.room_id.clone()),
            events,
            ..RoomAppend::default()
        };
        // Without a room's row there is no tip to be checked.
        let _ = self.context.store.commit(append).await?;
        Ok(())
    }

    /// Judges events by their auth events, ancestors first. Those whose auth events are missing
    /// are left out; those that are not allowed are marked as rejected.
    pub(super) async fn judge_outliers(
        &self,
        snapshot: &Snapshot,
        events: Vec<SignedPdu>,
    ) -> Result<Vec<Event>, StoreError> {
        let mut known: BTreeMap<OwnedEventId, Arc<Pdu>> = BTreeMap::new();
        let cited: BTreeSet<OwnedEventId> = events
            .iter()
            .flat_map(|signed| {
                let needs = check::needs(signed.pdu(), snapshot.rules);
                needs.map(|needs| needs.events).unwrap_or_default()
            })
            .chain(events.iter().map(|signed| signed.pdu().event_id.clone()))
            .collect();
        let cited: Vec<_> = cited.into_iter().collect();
        for event in self.context.store.events(&cited).await? {
            known.insert(event.id().to_owned(), Arc::clone(&event.pdu));
        }
        let mut waiting: Vec<SignedPdu> = events
            .into_iter()
            .filter(|signed| !known.contains_key(&signed.pdu().event_id))
            // No auth chain and no state holds a message: outside of the timeline it would have no
            // deadline, and stay.
            .filter(|signed| !expiry::may_expire(signed.pdu()))
            .collect();
        waiting.sort_by_key(|signed| signed.pdu().depth);
        let now = self.context.clock.now_ms();
        let mut judged = Vec::with_capacity(waiting.len());
        for _ in 0..PASSES_MAX {
            let before = waiting.len();
            let mut still = Vec::new();
            for signed in waiting {
                let fetch = |id: &EventId| known.get(id).cloned();
                let status = match check::check_auth_events(signed.pdu(), snapshot.rules, fetch) {
                    Err(_) => {
                        still.push(signed);
                        continue;
                    }
                    Ok(Ok(())) => EventStatus::Outlier,
                    Ok(Err(_)) => EventStatus::Rejected,
                };
                if let Ok(event) = bare_event(&signed, snapshot.rules, status, now) {
                    known.insert(event.id().to_owned(), Arc::clone(&event.pdu));
                    judged.push(event);
                }
            }
            waiting = still;
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        Ok(judged)
    }

    /// Those of `ids` that are not held at all.
    pub(super) async fn unknown(
        &self,
        ids: &[OwnedEventId],
    ) -> Result<Vec<OwnedEventId>, StoreError> {
        let held = self.context.store.events(ids).await?;
        let held: BTreeSet<&EventId> = held.iter().map(|event| event.id()).collect();
        Ok(ids
            .iter()
            .filter(|id| !held.contains(&***id))
            .cloned()
            .collect())
    }
}
