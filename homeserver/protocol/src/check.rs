//! Whether an event is allowed: the checks 4 to 6 on receipt, in their order, and singly.
//!
//! Invariant: a verdict depends only on the event, the events it cites and the two states; the same input gives the same
//! verdict on every server. What is missing is named in [`Needs`], never guessed.
//!
//! Checks 1 to 3 are the constructors of [`crate::signed`]. The sanity of `auth_events` (no duplicates, only what the
//! selection rules name, same room, none rejected, a create event) is part of the state-independent rules.
//!
//! Specification: <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>.

use std::{collections::HashMap, sync::Arc};

use ruma::{
    EventId, OwnedEventId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
    state_res::{check_state_dependent_auth_rules, check_state_independent_auth_rules},
};

use crate::{
    build::auth_types,
    pdu::{Pdu, create_of_room_id},
    reason::Reason,
};

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passed all checks: it is part of the timeline and, if a state event, of the state.
    Accepted,
    /// It is allowed where its sender put it, but not by the room as it is now: stored, not shown, not a forward extremity
    /// for our own events. <https://spec.matrix.org/v1.19/server-server-api/#soft-failure>
    SoftFailed(Reason),
    /// It is not allowed: stored as rejected, so that what cites it is rejected too; never shown, no part of the state.
    /// <https://spec.matrix.org/v1.19/server-server-api/#rejection>
    Rejected(Reason),
    /// It is no event: nothing of it is kept.
    Dropped(Reason),
}

/// What must be known to judge an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Events by identifier: the cited auth events and, where the room ID is its hash, the create event.
    pub events: Vec<OwnedEventId>,
    /// Places in the state (before the event, and now); a place that the state does not hold is no obstacle.
    pub state: Vec<(StateEventType, String)>,
}

/// All that [`judge`] will look at. Fails if the event is malformed in a way that has it rejected.
pub fn needs(pdu: &Pdu, rules: &RoomVersionRules) -> Result<Needs, Reason> {
    let mut events = pdu.auth_events.clone();
    let mut state = auth_types(
        &pdu.kind,
        &pdu.sender,
        pdu.state_key.as_deref(),
        &pdu.content,
        rules,
    )?;
    if pdu.kind != TimelineEventType::RoomCreate {
        events.extend(create_of_room_id(&pdu.room_id, rules));
        let create = (StateEventType::RoomCreate, String::new());
        if !state.contains(&create) {
            state.push(create);
        }
    }
    Ok(Needs { events, state })
}

/// The first part of check 4: the rules that look at no state, `auth_events` among them.
pub fn check_independent(
    pdu: &Pdu,
    rules: &RoomVersionRules,
    fetch_event: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<(), Reason> {
    check_state_independent_auth_rules(&rules.authorization, pdu, fetch_event)
        .map_err(|detail| Reason::new("state-independent authorisation", detail))
}

/// The rules that look at a state: whether `state` allows the event. All that an event of our own has to pass.
pub fn authorize_against(
    pdu: &Pdu,
    rules: &RoomVersionRules,
    state: impl Fn(&StateEventType, &str) -> Option<Arc<Pdu>>,
) -> Result<(), Reason> {
    check_state_dependent_auth_rules(&rules.authorization, pdu, state)
        .map_err(|detail| Reason::new("authorisation by state", detail))
}

/// Check 4: the rules that look at no state, then the others with the cited auth events as state.
///
/// The outer error names cited events that `fetch_event` does not have.
pub fn check_auth_events(
    pdu: &Pdu,
    rules: &RoomVersionRules,
    fetch_event: impl Fn(&EventId) -> Option<Arc<Pdu>>,
) -> Result<Result<(), Reason>, Needs> {
    let wanted = match needs(pdu, rules) {
        Ok(wanted) => wanted.events,
        Err(reason) => return Ok(Err(reason)),
    };
    let mut found = HashMap::with_capacity(wanted.len());
    let mut missing = Vec::new();
    for event_id in wanted {
        match fetch_event(&event_id) {
            Some(event) => {
                found.insert(event_id, event);
            }
            None => missing.push(event_id),
        }
    }
    if !missing.is_empty() {
        return Err(Needs {
            events: missing,
            state: Vec::new(),
        });
    }
    let by_place = found
        .values()
        .filter_map(|event| event.state_place().map(|place| (place, event)))
        .collect::<HashMap<_, _>>();
    Ok(
        check_independent(pdu, rules, |id| found.get(id).cloned()).and_then(|()| {
            authorize_against(pdu, rules, |kind, key| {
                by_place
                    .get(&(kind.clone(), key.to_owned()))
                    .map(|event| Arc::clone(event))
            })
        }),
    )
}

/// Checks 4 to 6 in order.
///
/// * `fetch_event`: any event of the room that we hold, rejected ones included (marked as such).
/// * `state_before`: the state before the event, resolved over its `prev_events`.
/// * `state_now`: the current state of the room; for an event that fills the past (backfill) give the state before it.
///
/// Fails with the cited events that are missing: fetch and judge those first, or give up on the event.
pub fn judge(
    pdu: &Pdu,
    rules: &RoomVersionRules,
    fetch_event: impl Fn(&EventId) -> Option<Arc<Pdu>>,
    state_before: impl Fn(&StateEventType, &str) -> Option<Arc<Pdu>>,
    state_now: impl Fn(&StateEventType, &str) -> Option<Arc<Pdu>>,
) -> Result<Verdict, Needs> {
    if let Err(reason) = check_auth_events(pdu, rules, fetch_event)? {
        return Ok(Verdict::Rejected(reason));
    }
    if let Err(reason) = authorize_against(pdu, rules, state_before) {
        return Ok(Verdict::Rejected(reason));
    }
    if let Err(reason) = authorize_against(pdu, rules, state_now) {
        return Ok(Verdict::SoftFailed(reason));
    }
    Ok(Verdict::Accepted)
}

#[cfg(test)]
mod tests;
