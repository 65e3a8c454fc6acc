//! State resolution on stored states: loads what the protocol crate needs, then asks it.
//!
//! Invariant: the work is bounded by [`EVENTS_MAX`]; the result depends on states and events only.
//!
//! Spec: <https://spec.matrix.org/v1.19/rooms/v12/#state-resolution>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use passeur_protocol::{pdu::Pdu, resolve};
use ruma::{EventId, OwnedEventId};

use super::{
    SendError,
    chain::Chain,
    offer::{sorted, to_std},
};
use crate::store::{RoomStateMap, StateKey, StoreError};

/// Events that one resolution may look at.
const EVENTS_MAX: usize = 100_000;
/// How often a resolution is tried again after loading what it lacked.
const ROUNDS_MAX: usize = 64;

impl Chain<'_> {
    /// Resolves several states into one.
    pub(super) async fn resolve_groups(&self, groups: &[i64]) -> Result<RoomStateMap, SendError> {
        let mut states = Vec::with_capacity(groups.len());
        for group in groups {
            states.push(self.state_of(*group).await?.state);
        }
        self.resolve_states(&states).await
    }

    /// Resolves several states into one.
    pub(super) async fn resolve_states(
        &self,
        states: &[RoomStateMap],
    ) -> Result<RoomStateMap, SendError> {
        let mut known: HashMap<OwnedEventId, Arc<Pdu>> = HashMap::new();
        let mut chains: Vec<HashSet<OwnedEventId>> = Vec::with_capacity(states.len());
        let is_common = |place: &StateKey, id: &OwnedEventId| {
            states.iter().all(|state| state.get(place) == Some(id))
        };
        let of = |state: &RoomStateMap, common: bool| -> Vec<OwnedEventId> {
            let entries = state
                .iter()
                .filter(|(place, id)| is_common(place, id) == common);
            entries.map(|(_, id)| id.clone()).collect()
        };
        // The chains are only compared with each other, so what all of them hold is left out.
        let base = match states.first() {
            Some(state) => self.auth_chain(of(state, true), &mut known).await?,
            None => HashSet::new(),
        };
        for state in states {
            let chain = self.auth_chain(of(state, false), &mut known).await?;
            chains.push(chain.into_iter().filter(|id| !base.contains(id)).collect());
        }
        let sets: Vec<_> = states.iter().map(to_std).collect();
        for _ in 0..ROUNDS_MAX {
            let outcome = resolve::resolve(self.rules, &sets, chains.clone(), |id: &EventId| {
                known.get(id).cloned()
            });
            match outcome {
                Ok(resolved) => return Ok(resolved.into_iter().collect()),
                Err(resolve::ResolveError::Missing(ids)) => {
                    let found = self.events(&ids).await?;
                    if found.len() < ids.len() {
                        return Err(StoreError::corrupt("events", "event_id").into());
                    }
                    known.extend(found);
                }
                Err(_) => return Err(SendError::Unplaced),
            }
        }
        Err(SendError::Unplaced)
    }

    /// The auth chain of events, loaded layer by layer: all that they cite, directly or not.
    pub(super) async fn auth_chain(
        &self,
        events: Vec<OwnedEventId>,
        known: &mut HashMap<OwnedEventId, Arc<Pdu>>,
    ) -> Result<HashSet<OwnedEventId>, SendError> {
        let mut chain: HashSet<OwnedEventId> = HashSet::new();
        let mut visited: HashSet<OwnedEventId> = events.iter().cloned().collect();
        let mut layer = events;
        while !layer.is_empty() {
            let missing = layer
                .iter()
                .filter(|id| !known.contains_key(*id))
                .cloned()
                .collect();
            known.extend(self.events(&sorted(missing)).await?);
            let mut next = Vec::new();
            for pdu in layer.iter().filter_map(|id| known.get(id)) {
                for cited in &pdu.auth_events {
                    chain.insert(cited.clone());
                    if visited.insert(cited.clone()) {
                        next.push(cited.clone());
                    }
                }
            }
            if visited.len() > EVENTS_MAX {
                return Err(SendError::Unplaced);
            }
            layer = next;
        }
        Ok(chain)
    }
}
