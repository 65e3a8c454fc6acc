//! The threads of a room, by their newest answer.

use ruma::{OwnedEventId, RoomId};
use sea_orm::{
    ColumnTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect, RelationDef,
};

use super::{
    EventStatus, Store, StoreError,
    entity::{event_relations, events},
};

/// An answer in a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadAnswer {
    /// The thread.
    pub root: OwnedEventId,
    /// The answer's room order.
    pub room_order: i64,
}

impl Store {
    /// The answers in all threads of a room that stand before a room order, newest first; at most `limit`.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn thread_answers(
        &self,
        room: &RoomId,
        before: i64,
        limit: u64,
    ) -> Result<Vec<ThreadAnswer>, StoreError> {
        // Along the room's order, so that no more is read than is found.
        let relation: RelationDef = events::Entity::belongs_to(event_relations::Entity)
            .from(events::Column::EventId)
            .to(event_relations::Column::Child)
            .into();
        let rows: Vec<(i64, String)> = events::Entity::find()
            .select_only()
            .column(events::Column::RoomOrder)
            .column(event_relations::Column::Parent)
            .join(JoinType::InnerJoin, relation)
            .filter(events::Column::RoomId.eq(room.as_str()))
            .filter(events::Column::RoomOrder.lt(before))
            .filter(events::Column::Status.eq(EventStatus::Accepted as i16))
            .filter(event_relations::Column::RelType.eq("m.thread"))
            .order_by_desc(events::Column::RoomOrder)
            .limit(limit)
            .into_tuple()
            .all(self.reader())
            .await?;
        rows.into_iter()
            .map(|(room_order, root)| {
                let corrupt = |_| StoreError::corrupt("event_relations", "parent");
                let root = OwnedEventId::try_from(root).map_err(corrupt)?;
                Ok(ThreadAnswer { root, room_order })
            })
            .collect()
    }
}
