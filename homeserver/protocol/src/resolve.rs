//! The state of a room where its graph forked.
//!
//! Invariant: the result depends on the states and the events alone, not on their order. Events that are needed and missing
//! are named; a result is never computed without them.
//!
//! Specification: <https://spec.matrix.org/v1.19/rooms/v2/#state-resolution> (rooms up to version 11) and
//! <https://spec.matrix.org/v1.19/rooms/v12/#state-resolution>.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use ruma::{
    EventId, OwnedEventId,
    room_version_rules::RoomVersionRules,
    state_res::{self, utils::event_id_set::EventIdSet},
};

pub use ruma::state_res::StateMap;

use crate::{
    limits::{RESOLVE_EVENTS_MAX, STATE_SETS_MAX},
    pdu::Pdu,
    reason::Reason,
};

/// Why no state came out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// These events are cited and missing: fetch them, then ask again.
    #[error("events are missing")]
    Missing(Vec<OwnedEventId>),
    /// More forks or more events than we are willing to look at.
    #[error("the fork is too large")]
    TooLarge,
    /// The room version has no such algorithm, or the events do not fit together.
    #[error("state resolution failed: {0}")]
    Failed(Reason),
}

/// Resolves states against each other.
///
/// * `state_sets`: the states to resolve, at most [`STATE_SETS_MAX`].
/// * `auth_chains`: for each of them, the auth chain of all its events (see [`auth_chain`]), in any order.
/// * `fetch`: any event of the room that is not rejected.
pub fn resolve(
    rules: &RoomVersionRules,
    state_sets: &[StateMap<OwnedEventId>],
    auth_chains: Vec<HashSet<OwnedEventId>>,
    fetch: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<StateMap<OwnedEventId>, ResolveError> {
    if state_sets.len() > STATE_SETS_MAX {
        return Err(ResolveError::TooLarge);
    }
    if let [only] = state_sets {
        return Ok(only.clone());
    }
    let state_res_rules = rules.state_res.v2_rules().ok_or_else(|| {
        ResolveError::Failed(Reason::new(
            "state resolution",
            "no algorithm for this room version",
        ))
    })?;
    let missing = RefCell::new(BTreeSet::new());
    let noting_fetch = |id: &EventId| {
        let found = fetch(id);
        if found.is_none() {
            missing.borrow_mut().insert(id.to_owned());
        }
        found
    };
    let chains = auth_chains
        .into_iter()
        .map(|chain| chain.into_iter().collect::<EventIdSet<_>>())
        .collect();
    let resolved = state_res::resolve(
        &rules.authorization,
        state_res_rules,
        state_sets,
        chains,
        &noting_fetch,
        |conflicted| {
            subgraph(conflicted.values().flatten(), &noting_fetch)
                .map(|ids| ids.into_iter().collect())
        },
    );
    // The library passes over events that it cannot get; a state computed so would differ from our peers'.
    let missing = missing.into_inner();
    if !missing.is_empty() {
        return Err(ResolveError::Missing(missing.into_iter().collect()));
    }
    resolved
        .map_err(|error| ResolveError::Failed(Reason::new("state resolution", error.to_string())))
}

/// As [`resolve`], for a caller that has no auth chains at hand. Looks at as few events as it can: at none if the states
/// agree, and at the chains of what they agree on only where that matters.
pub fn resolve_states(
    rules: &RoomVersionRules,
    state_sets: &[StateMap<OwnedEventId>],
    fetch: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<StateMap<OwnedEventId>, ResolveError> {
    let mut distinct = Vec::<StateMap<OwnedEventId>>::new();
    for set in state_sets {
        if !distinct.contains(set) {
            distinct.push(set.clone());
        }
    }
    if distinct.len() <= 1 {
        return Ok(distinct.pop().unwrap_or_default());
    }
    if distinct.len() > STATE_SETS_MAX {
        return Err(ResolveError::TooLarge);
    }
    let chains = narrow_chains(&distinct, &fetch)?;
    resolve(rules, &distinct, chains, fetch)
}

/// For each state, a part of its auth chain: one by which the chains differ exactly as they differ in full.
fn narrow_chains(
    sets: &[StateMap<OwnedEventId>],
    fetch: &impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<Vec<HashSet<OwnedEventId>>, ResolveError> {
    let is_agreed =
        |place: &(_, _), id: &OwnedEventId| sets.iter().all(|set| set.get(place) == Some(id));
    let agreed = sets
        .iter()
        .take(1)
        .flatten()
        .filter(|(place, id)| is_agreed(place, id))
        .map(|(_, id)| id)
        .collect::<HashSet<_>>();
    let mut chains = sets
        .iter()
        .map(|set| auth_chain(set.values().filter(|id| !agreed.contains(*id)), fetch))
        .collect::<Result<Vec<_>, _>>()?;

    // An event is in every full chain if it is in all of these, or in the chain of what is agreed on. Only for events that
    // are in some and not in all of these does the latter matter, so only those are looked for in it.
    let all = chains.iter().flatten().cloned().collect::<HashSet<_>>();
    let in_some = all
        .into_iter()
        .filter(|id| !chains.iter().all(|chain| chain.contains(id)))
        .collect::<HashSet<_>>();
    if !in_some.is_empty() {
        let of_agreed = auth_chain(agreed, fetch)?;
        for chain in &mut chains {
            chain.extend(in_some.intersection(&of_agreed).cloned());
        }
    }
    Ok(chains)
}

/// The auth chain of `events`: all that they cite, directly or not. They themselves are in it only if cited.
///
/// <https://spec.matrix.org/v1.19/server-server-api/#auth-chain>
pub fn auth_chain<'a>(
    events: impl IntoIterator<Item = &'a OwnedEventId>,
    fetch: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<HashSet<OwnedEventId>, ResolveError> {
    let mut waiting = events.into_iter().cloned().collect::<Vec<_>>();
    let mut visited = waiting.iter().cloned().collect::<HashSet<_>>();
    let mut chain = HashSet::new();
    let mut missing = Vec::new();
    while let Some(event_id) = waiting.pop() {
        let Some(event) = fetch(&event_id) else {
            missing.push(event_id);
            continue;
        };
        for cited in &event.auth_events {
            if chain.insert(cited.clone()) && visited.insert(cited.clone()) {
                waiting.push(cited.clone());
            }
        }
        if visited.len() > RESOLVE_EVENTS_MAX {
            return Err(ResolveError::TooLarge);
        }
    }
    if missing.is_empty() {
        Ok(chain)
    } else {
        Err(ResolveError::Missing(missing))
    }
}

/// The conflicted state subgraph: every event on a path, along `auth_events`, from one conflicted event to another.
///
/// `None` if it grows beyond [`RESOLVE_EVENTS_MAX`]. <https://spec.matrix.org/v1.19/rooms/v12/#state-resolution>
fn subgraph<'a>(
    conflicted: impl Iterator<Item = &'a OwnedEventId>,
    fetch: &impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Option<HashSet<OwnedEventId>> {
    let conflicted = conflicted.cloned().collect::<HashSet<_>>();
    // Whether a path leads from the event to a conflicted one (itself included). Filled children first.
    let mut leads_back = HashMap::<OwnedEventId, bool>::new();
    let mut stack = conflicted
        .iter()
        .cloned()
        .map(|id| (id, false))
        .collect::<Vec<_>>();
    while let Some((id, children_done)) = stack.pop() {
        if leads_back.len() > RESOLVE_EVENTS_MAX {
            return None;
        }
        let event = fetch(&id);
        let cited = event
            .as_ref()
            .map(|event| event.auth_events.as_slice())
            .unwrap_or_default();
        if children_done {
            let leads = conflicted.contains(&id)
                || cited.iter().any(|id| leads_back.get(id) == Some(&true));
            leads_back.insert(id, leads);
        } else if !leads_back.contains_key(&id) {
            // Marked at once, so that an event that is reached twice is walked once; there are no cycles among hashes.
            leads_back.insert(id.clone(), false);
            let unseen = cited
                .iter()
                .filter(|id| !leads_back.contains_key(*id))
                .cloned();
            let unseen = unseen.map(|id| (id, false)).collect::<Vec<_>>();
            stack.push((id, true));
            stack.extend(unseen);
        }
    }
    Some(
        leads_back
            .into_iter()
            .filter_map(|(id, leads)| leads.then_some(id))
            .collect(),
    )
}

#[cfg(test)]
mod tests;
