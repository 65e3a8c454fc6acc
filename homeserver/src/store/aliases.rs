//! Local aliases.

use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter,
    sea_query::{Expr, OnConflict},
};

use super::{Change, Store, StoreError, Tx, entity::aliases};

/// Makes an alias; the answer says whether it was free.
#[derive(Clone, Debug)]
pub struct NewAlias {
    /// The alias.
    pub alias: OwnedRoomAliasId,
    /// The room.
    pub room_id: OwnedRoomId,
    /// Who makes it.
    pub creator: OwnedUserId,
}

impl Change for NewAlias {
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        insert(tx, self).await
    }
}

/// Writes an alias, as part of a larger change; answers whether it was free.
pub(super) async fn insert(tx: &Tx, new: &NewAlias) -> Result<bool, StoreError> {
    let row = aliases::ActiveModel {
        alias: Set(new.alias.as_str().to_owned()),
        room_id: Set(new.room_id.as_str().to_owned()),
        creator: Set(new.creator.as_str().to_owned()),
    };
    let inserted = aliases::Entity::insert(row)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(tx.connection())
        .await?;
    Ok(inserted == 1)
}

/// Whether an alias belongs to a room, inside of a change.
pub(super) async fn is_taken(tx: &Tx, new: &NewAlias) -> Result<bool, StoreError> {
    let found = aliases::Entity::find_by_id(new.alias.as_str().to_owned())
        .one(tx.connection())
        .await?;
    Ok(found.is_some())
}

/// Removes an alias.
#[derive(Clone, Debug)]
pub struct DeleteAlias(pub OwnedRoomAliasId);

impl Change for DeleteAlias {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        aliases::Entity::delete_by_id(self.0.as_str().to_owned())
            .exec(tx.connection())
            .await?;
        Ok(())
    }
}

/// Lets all local aliases of a room lead to another one; the answer says how many there were.
#[derive(Clone, Debug)]
pub struct MoveAliases {
    /// The room that they led to.
    pub from: OwnedRoomId,
    /// The room that they lead to then.
    pub to: OwnedRoomId,
}

impl Change for MoveAliases {
    type Output = u64;

    async fn apply(&self, tx: &mut Tx) -> Result<u64, StoreError> {
        let moved = aliases::Entity::update_many()
            .col_expr(aliases::Column::RoomId, Expr::value(self.to.as_str()))
            .filter(aliases::Column::RoomId.eq(self.from.as_str()))
            .exec(tx.connection())
            .await?;
        Ok(moved.rows_affected)
    }
}

impl Store {
    /// The room behind a local alias and who made it.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if the row cannot be read.
    pub async fn alias(
        &self,
        alias: &RoomAliasId,
    ) -> Result<Option<(OwnedRoomId, OwnedUserId)>, StoreError> {
        let row = aliases::Entity::find_by_id(alias.as_str().to_owned())
            .one(self.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let room = OwnedRoomId::try_from(row.room_id)
            .map_err(|_| StoreError::corrupt("aliases", "room_id"))?;
        let creator = OwnedUserId::try_from(row.creator)
            .map_err(|_| StoreError::corrupt("aliases", "creator"))?;
        Ok(Some((room, creator)))
    }

    /// The room behind a local alias.
    ///
    /// # Errors
    /// As [`Store::alias`].
    pub async fn room_of_alias(
        &self,
        alias: &RoomAliasId,
    ) -> Result<Option<OwnedRoomId>, StoreError> {
        Ok(self.alias(alias).await?.map(|(room, _)| room))
    }

    /// The local aliases of a room.
    ///
    /// # Errors
    /// As [`Store::alias`].
    pub async fn aliases_of(&self, room: &RoomId) -> Result<Vec<OwnedRoomAliasId>, StoreError> {
        let rows = aliases::Entity::find()
            .filter(aliases::Column::RoomId.eq(room.as_str()))
            .all(self.reader())
            .await?;
        rows.into_iter()
            .map(|row| {
                OwnedRoomAliasId::try_from(row.alias)
                    .map_err(|_| StoreError::corrupt("aliases", "alias"))
            })
            .collect()
    }
}
