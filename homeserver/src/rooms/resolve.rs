//! State resolution on stored states: loads what the protocol crate needs, then asks it.
//!
//! Invariant: the work is bounded by [`EVENTS_MAX`]; the result depends on states and events only.
//!
//! Spec: <https://spec.matrix.org/v1.19/rooms/v12/#state-resolution>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use passeur_protocol::{
    pdu::Pdu,
    resolve::{self, ResolveError, StateMap},
};
use ruma::{EventId, OwnedEventId, room_version_rules::RoomVersionRules};

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
/// Events up to which a resolution is done at once, and not on a thread of its own.
const INLINE_EVENTS_MAX: usize = 300;

/// One resolution: what it is made of, and what is known of the events so far.
struct Task {
    rules: &'static RoomVersionRules,
    sets: Vec<StateMap<OwnedEventId>>,
    known: HashMap<OwnedEventId, Arc<Pdu>>,
}

/// What a resolution comes to.
type Outcome = Result<StateMap<OwnedEventId>, ResolveError>;

impl Task {
    /// Runs it; a large one where it keeps nobody else waiting.
    async fn run(self) -> Result<(Outcome, Self), SendError> {
        let is_small = self.known.len() <= INLINE_EVENTS_MAX;
        let run = move || {
            let fetch = |id: &EventId| self.known.get(id).cloned();
            (resolve::resolve_states(self.rules, &self.sets, fetch), self)
        };
        if is_small {
            return Ok(run());
        }
        tokio::task::spawn_blocking(run)
            .await
            .map_err(|_| SendError::Unplaced)
    }
}

impl Chain<'_> {
    /// Resolves the states of several groups into one.
    pub(super) async fn resolve_groups(&self, groups: &[i64]) -> Result<RoomStateMap, SendError> {
        let mut states: Vec<RoomStateMap> = Vec::with_capacity(groups.len());
        for group in groups {
            let state = self.state_of(*group).await?.state;
            // Branches that came to the same state have groups of their own, and nothing to resolve.
            if !states.contains(&state) {
                states.push(state);
            }
        }
        if let [only] = states.as_slice() {
            return Ok(only.clone());
        }
        self.resolve_states(&states).await
    }

    /// Resolves states that differ into one. What they agree on is looked at only where it matters.
    async fn resolve_states(&self, states: &[RoomStateMap]) -> Result<RoomStateMap, SendError> {
        let is_agreed = |place: &StateKey, id: &OwnedEventId| {
            states.iter().all(|state| state.get(place) == Some(id))
        };
        let differing: HashSet<OwnedEventId> = states
            .iter()
            .flat_map(|state| state.iter())
            .filter(|(place, id)| !is_agreed(place, id))
            .map(|(_, id)| id.clone())
            .collect();
        let mut known = HashMap::new();
        self.auth_chain(sorted(differing), &mut known).await?;
        let mut task = Task {
            rules: self.rules,
            sets: states.iter().map(to_std).collect(),
            known,
        };
        for _ in 0..ROUNDS_MAX {
            let outcome;
            (outcome, task) = task.run().await?;
            match outcome {
                Ok(resolved) => return Ok(resolved.into_iter().collect()),
                Err(ResolveError::Missing(ids)) => {
                    self.auth_chain(ids.clone(), &mut task.known).await?;
                    if !ids.iter().all(|id| task.known.contains_key(id)) {
                        return Err(StoreError::corrupt("events", "event_id").into());
                    }
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
