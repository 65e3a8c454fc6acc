//! What a filter asks for by the relations of events: those to which somebody, or something of a kind, relates.
//!
//! Invariant: ruma's filter leaves these out, so they are read here from the same text.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#filtering> (`related_by_senders`, `related_by_rel_types`)

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ruma::{EventId, OwnedEventId, OwnedUserId};
use serde::Deserialize;

use crate::{
    client::reading::ReadableRoom,
    store::{Event, StoreError},
};

/// The part of a filter that is about relations.
#[derive(Debug, Default, Deserialize)]
pub(super) struct RelatedFilter {
    /// By whom something must relate to an event.
    related_by_senders: Option<Vec<OwnedUserId>>,
    /// How.
    related_by_rel_types: Option<Vec<String>>,
}

impl RelatedFilter {
    /// The part of a filter as it stands in a query. What cannot be read was refused with the rest of the filter.
    pub(super) fn of(filter: Option<&str>) -> Self {
        let read = filter.and_then(|filter| serde_json::from_str(filter).ok());
        read.unwrap_or_default()
    }

    /// Those of the events that pass.
    pub(super) async fn apply(
        &self,
        room: &ReadableRoom<'_>,
        events: Vec<Arc<Event>>,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        if self.related_by_senders.is_none() && self.related_by_rel_types.is_none() {
            return Ok(events);
        }
        let store = &room.app.store;
        let ids: Vec<&EventId> = events.iter().map(|event| event.id()).collect();
        let mut rows = store.all_children_of(&ids).await?;
        if let Some(types) = &self.related_by_rel_types {
            rows.retain(|row| types.contains(&row.rel_type));
        }
        let children: Vec<OwnedEventId> = rows.iter().map(|row| row.child.clone()).collect();
        let mut children = store.events(&children).await?;
        children.retain(|child| {
            let senders = self.related_by_senders.as_ref();
            child.is_accepted() && senders.is_none_or(|all| all.contains(&child.pdu.sender))
        });
        let children = room.visible(children).await?;
        let children: HashMap<&EventId, &Arc<Event>> =
            children.iter().map(|child| (child.id(), child)).collect();
        let parents: HashSet<&EventId> = rows
            .iter()
            .filter(|row| children.contains_key(&*row.child))
            .map(|row| &*row.parent)
            .collect();
        let passing = events.iter().filter(|event| parents.contains(event.id()));
        Ok(passing.cloned().collect())
    }
}
