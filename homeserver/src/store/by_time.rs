//! Events of a room by their time.
//!
//! Invariant: only events of the timeline are found, by the index of room and time.

use std::sync::Arc;

use ruma::RoomId;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Direction, Event, EventStatus, Store, StoreError, entity::events, events::parse_ids};

impl Store {
    /// Events at or after a time (forward) or at or before it (backward), the closest first; `skip` of them are passed over.
    /// `ts` is in ms since the epoch.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if an event cannot be read.
    pub async fn events_by_time(
        &self,
        room: &RoomId,
        ts: i64,
        direction: Direction,
        skip: u64,
        limit: u64,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let query = events::Entity::find()
            .select_only()
            .column(events::Column::EventId)
            .filter(events::Column::RoomId.eq(room.as_str()))
            .filter(events::Column::RoomOrder.is_not_null())
            .filter(events::Column::Status.eq(EventStatus::Accepted as i16));
        let query = match direction {
            Direction::Forward => query
                .filter(events::Column::OriginServerTs.gte(ts))
                .order_by_asc(events::Column::OriginServerTs)
                .order_by_asc(events::Column::RoomOrder),
            Direction::Backward => query
                .filter(events::Column::OriginServerTs.lte(ts))
                .order_by_desc(events::Column::OriginServerTs)
                .order_by_desc(events::Column::RoomOrder),
        };
        let ids: Vec<String> = query
            .offset(skip)
            .limit(limit)
            .into_tuple()
            .all(self.reader())
            .await?;
        self.events(&parse_ids(ids)?).await
    }
}
