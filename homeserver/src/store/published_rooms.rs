//! The rooms that this server publishes in its directory.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#published-room-directory>

use ruma::{OwnedRoomId, RoomId};
use sea_orm::{
    ActiveValue::Set, EntityTrait, PaginatorTrait, QueryOrder, QuerySelect, sea_query::OnConflict,
};

use super::{Change, Store, StoreError, Tx, entity::published_rooms};

/// Publishes a room in the directory, or takes it out.
#[derive(Clone, Debug)]
pub struct PublishRoom {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Whether it shall be published.
    pub is_public: bool,
}

impl Change for PublishRoom {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let room_id = self.room_id.as_str().to_owned();
        if self.is_public {
            let row = published_rooms::ActiveModel {
                room_id: Set(room_id),
            };
            published_rooms::Entity::insert(row)
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .exec_without_returning(tx.connection())
                .await?;
        } else {
            published_rooms::Entity::delete_by_id(room_id)
                .exec(tx.connection())
                .await?;
        }
        Ok(())
    }
}

impl Store {
    /// Whether a room is published.
    ///
    /// # Errors
    /// What the database says.
    pub async fn is_published(&self, room: &RoomId) -> Result<bool, StoreError> {
        let found = published_rooms::Entity::find_by_id(room.as_str().to_owned())
            .count(self.reader())
            .await?;
        Ok(found > 0)
    }

    /// The published rooms, by their ids; at most `limit`.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn published_rooms(&self, limit: u64) -> Result<Vec<OwnedRoomId>, StoreError> {
        let rows = published_rooms::Entity::find()
            .order_by_asc(published_rooms::Column::RoomId)
            .limit(limit)
            .all(self.reader())
            .await?;
        rows.into_iter()
            .map(|row| {
                OwnedRoomId::try_from(row.room_id)
                    .map_err(|_| StoreError::corrupt("published_rooms", "room_id"))
            })
            .collect()
    }
}
