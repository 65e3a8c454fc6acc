//! Events of an answer in the order in which they can be judged: predecessors first.
//!
//! Invariant: no event stands before one of its predecessors, whatever depths their senders gave them; where the graph
//! leaves the order open, depth and then the identifier decide, so that every server does the same.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#pdus>

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

use passeur_protocol::signed::SignedPdu;
use ruma::OwnedEventId;

/// Those events that `ids` lead to along their predecessors, these included, but not by way of `known` ones: what nothing of it
/// leads to is left out.
pub(super) fn leading_to(
    ids: &[OwnedEventId],
    events: Vec<SignedPdu>,
    known: &HashSet<OwnedEventId>,
) -> Vec<SignedPdu> {
    let mut by_id = by_id(events);
    let mut waiting = ids.to_vec();
    let mut found = Vec::with_capacity(by_id.len());
    while let Some(id) = waiting.pop() {
        if known.contains(&id) {
            continue;
        }
        if let Some(event) = by_id.remove(&id) {
            waiting.extend(event.pdu().prev_events.iter().cloned());
            found.push(event);
        }
    }
    found
}

/// The events, each once, predecessors first.
pub(super) fn predecessors_first(events: Vec<SignedPdu>) -> Vec<SignedPdu> {
    let mut by_id = by_id(events);
    let mut children: HashMap<OwnedEventId, Vec<OwnedEventId>> = HashMap::new();
    let mut waits_for: HashMap<OwnedEventId, usize> = HashMap::with_capacity(by_id.len());
    let mut free = BinaryHeap::new();
    for (id, event) in &by_id {
        let mut count = 0;
        for parent in &event.pdu().prev_events {
            if by_id.contains_key(parent) {
                children.entry(parent.clone()).or_default().push(id.clone());
                count += 1;
            }
        }
        waits_for.insert(id.clone(), count);
        if count == 0 {
            free.push(Reverse((event.pdu().depth, id.clone())));
        }
    }
    let mut ordered = Vec::with_capacity(by_id.len());
    while let Some(Reverse((_, id))) = free.pop() {
        ordered.extend(by_id.remove(&id));
        for child in children.remove(&id).unwrap_or_default() {
            let Some(count) = waits_for.get_mut(&child) else {
                continue;
            };
            *count = count.saturating_sub(1);
            if *count == 0
                && let Some(event) = by_id.get(&child)
            {
                free.push(Reverse((event.pdu().depth, child)));
            }
        }
    }
    ordered
}

fn by_id(events: Vec<SignedPdu>) -> HashMap<OwnedEventId, SignedPdu> {
    let events = events.into_iter();
    events
        .map(|event| (event.pdu().event_id.clone(), event))
        .collect()
}
