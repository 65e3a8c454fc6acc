//! Which thread an event belongs to, for counts and receipts.
//!
//! Invariant: relations are followed at most [`HOPS_MAX`] times, so a long or circular chain of
//! them belongs to the main timeline. A thread's root is in the main timeline itself.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#threaded-read-receipts>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId};
use serde::Deserialize;

use crate::store::{Event, Store, StoreError};

/// The name of the timeline outside of all threads.
pub const MAIN: &str = "main";
/// "Implementations should not recurse infinitely, though: a maximum of 3 hops is recommended".
const HOPS_MAX: usize = 3;

/// What an event says of its relation to another.
#[derive(Deserialize)]
struct Relation {
    #[serde(default)]
    rel_type: String,
    event_id: OwnedEventId,
}

fn relation_of(event: &Event) -> Option<Relation> {
    #[derive(Deserialize)]
    struct Content {
        #[serde(rename = "m.relates_to")]
        relates_to: Relation,
    }
    let content = event.pdu.content.get();
    if !content.contains("m.relates_to") {
        return None;
    }
    let content: Content = serde_json::from_str(content).ok()?;
    Some(content.relates_to)
}

/// The thread of each event, in their order: the id of its root, or [`MAIN`].
///
/// # Errors
/// What the database says.
pub async fn threads_of(store: &Store, events: &[Arc<Event>]) -> Result<Vec<String>, StoreError> {
    let mut threads: Vec<Option<String>> = vec![None; events.len()];
    let mut at: Vec<Option<Arc<Event>>> = events.iter().cloned().map(Some).collect();
    for hop in 0..=HOPS_MAX {
        let mut parents: BTreeMap<usize, OwnedEventId> = BTreeMap::new();
        for (number, event) in at.iter().enumerate() {
            match event.as_deref().and_then(relation_of) {
                Some(relation) if relation.rel_type == "m.thread" => {
                    threads[number] = Some(relation.event_id.to_string());
                }
                Some(relation) => {
                    parents.insert(number, relation.event_id);
                }
                None => {}
            }
        }
        at.fill(None);
        if parents.is_empty() || hop == HOPS_MAX {
            break;
        }
        let ids: BTreeSet<&OwnedEventId> = parents.values().collect();
        let ids: Vec<OwnedEventId> = ids.into_iter().cloned().collect();
        let found = store.events(&ids).await?;
        let found: BTreeMap<&EventId, &Arc<Event>> =
            found.iter().map(|event| (event.id(), event)).collect();
        for (number, parent) in &parents {
            let parent = found.get(&**parent);
            // A relation into another room is none.
            let parent = parent.filter(|parent| parent.pdu.room_id == events[*number].pdu.room_id);
            at[*number] = parent.map(|parent| Arc::clone(parent));
        }
    }
    let name = |thread: Option<String>| thread.unwrap_or_else(|| MAIN.to_owned());
    Ok(threads.into_iter().map(name).collect())
}
