//! Which events have children that are bundled with them, and which are known to have none.
//!
//! Invariant: an event counts as lonely only while no child of it was stored since that was found out; so an answer about new
//! events, which is most answers, asks nothing of the database.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events>

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use quick_cache::sync::Cache;
use ruma::{EventId, OwnedEventId, UserId};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect};

use super::{
    Event, RelationRow, Store, StoreError,
    entity::{event_relations, events},
};

/// The ways of relating that are bundled with the parent.
const BUNDLED_REL_TYPES: [&str; 3] = ["m.replace", "m.thread", "m.reference"];
/// Relations that one query reads: more have no place in an answer.
const CHILDREN_MAX: u64 = 5000;
/// How a redaction is noted among the relations, so that a target that comes later is found: it is no child of its target.
pub const REDACTS: &str = "redacts";
/// Events that one query asks for.
const PARENTS_PER_QUERY_MAX: usize = 500;
/// How many lonely events are remembered; each costs about 100 bytes.
const LONELY_MAX: usize = 10_000;

/// Events without children.
#[derive(Debug)]
pub(super) struct LonelyCache {
    events: Cache<OwnedEventId, ()>,
    /// Children stored since the start: what was read before one is not remembered after it.
    changes: AtomicU64,
}

impl LonelyCache {
    pub(super) fn new() -> Self {
        Self {
            events: Cache::new(LONELY_MAX),
            changes: AtomicU64::new(0),
        }
    }
}

impl Store {
    /// Notes events that were made here and stored just now: nothing can relate to them yet. Of other servers' events a child may
    /// have come before its parent.
    pub fn note_new<'a>(&self, events: impl Iterator<Item = &'a EventId>) {
        for event in events {
            self.lonely_cache.events.insert(event.to_owned(), ());
        }
    }

    /// Notes events that something was stored for just now that relates to them; after [`Store::note_new`] for the same commit.
    pub fn note_parents<'a>(&self, parents: impl Iterator<Item = &'a EventId>) {
        for parent in parents {
            self.lonely_cache.changes.fetch_add(1, Ordering::AcqRel);
            self.lonely_cache.events.remove(parent);
        }
    }

    /// The events that relate to any of `parents` in whatever way, but for what redacts them; at most [`CHILDREN_MAX`].
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn all_children_of(
        &self,
        parents: &[&EventId],
    ) -> Result<Vec<RelationRow>, StoreError> {
        let mut found = Vec::new();
        for some in parents.chunks(PARENTS_PER_QUERY_MAX) {
            let rows = event_relations::Entity::find()
                .filter(event_relations::Column::Parent.is_in(some.iter().map(|id| id.as_str())))
                .filter(event_relations::Column::RelType.ne(REDACTS))
                .limit(CHILDREN_MAX)
                .all(self.reader())
                .await?;
            for row in rows {
                let corrupt = |_| StoreError::corrupt("event_relations", "child");
                found.push(RelationRow {
                    parent: OwnedEventId::try_from(row.parent).map_err(corrupt)?,
                    child: OwnedEventId::try_from(row.child).map_err(corrupt)?,
                    rel_type: row.rel_type,
                });
            }
        }
        Ok(found)
    }

    /// The events by which a user relates to `parent` in one way, newest first; at most [`CHILDREN_MAX`].
    ///
    /// # Errors
    /// As [`Store::event`].
    pub async fn relations_by(
        &self,
        parent: &EventId,
        rel_type: &str,
        sender: &UserId,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let child = event_relations::Entity::belongs_to(events::Entity)
            .from(event_relations::Column::Child)
            .to(events::Column::EventId);
        let ids: Vec<String> = event_relations::Entity::find()
            .select_only()
            .column(event_relations::Column::Child)
            .join(JoinType::InnerJoin, child.into())
            .filter(event_relations::Column::Parent.eq(parent.as_str()))
            .filter(event_relations::Column::RelType.eq(rel_type))
            .filter(events::Column::Sender.eq(sender.as_str()))
            .order_by_desc(events::Column::RoomOrder)
            .limit(CHILDREN_MAX)
            .into_tuple()
            .all(self.reader())
            .await?;
        let corrupt = |_| StoreError::corrupt("event_relations", "child");
        let ids: Result<Vec<OwnedEventId>, StoreError> = ids
            .into_iter()
            .map(|id| OwnedEventId::try_from(id).map_err(corrupt))
            .collect();
        self.events(&ids?).await
    }

    /// The children that are bundled with any of `parents`.
    ///
    /// # Errors
    /// As [`Store::children_of`].
    pub async fn bundled_children_of(
        &self,
        parents: &[&EventId],
    ) -> Result<Vec<RelationRow>, StoreError> {
        let lonely = &self.lonely_cache;
        let mark = lonely.changes.load(Ordering::Acquire);
        let unknown = parents
            .iter()
            .copied()
            .filter(|id| lonely.events.get(*id).is_none());
        let unknown: Vec<&EventId> = unknown.collect();
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.children_of(&unknown, &BUNDLED_REL_TYPES).await?;
        if lonely.changes.load(Ordering::Acquire) == mark {
            for id in unknown {
                if !found.iter().any(|row| row.parent == id) {
                    lonely.events.insert(id.to_owned(), ());
                }
            }
        }
        Ok(found)
    }
}
