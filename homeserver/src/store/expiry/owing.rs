//! Redactions that may be owed to servers which do not destroy what expires: noted with the destruction, forgotten once they
//! are sent or turn out to be needless.
//!
//! Invariant: an event is noted in the change that destroys it, so that no crash comes between the two.
//!
//! No part of the specification.

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};

use crate::store::{
    Change, EventStatus, Store, StoreError, Tx,
    entity::{accounts, events, expiry_redactions},
    events::parse_ids,
};

/// How far back in a room's timeline messages are looked for that are redacted before their sender leaves, in events.
const FLUSH_REACH_MAX: i64 = 20_000;

/// An event of one of ours that is gone here, and may have to be redacted for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedRedaction {
    /// The event.
    pub event_id: OwnedEventId,
    /// Its room.
    pub room_id: OwnedRoomId,
    /// Who sent it.
    pub sender: OwnedUserId,
}

/// Notes those of the destroyed events that our users sent.
pub(super) async fn owe(tx: &Tx, destroyed: &[&str]) -> Result<(), StoreError> {
    let rows: Vec<(String, String, String)> = events::Entity::find()
        .select_only()
        .column(events::Column::EventId)
        .column(events::Column::RoomId)
        .column(events::Column::Sender)
        .filter(events::Column::EventId.is_in(destroyed.iter().copied()))
        .filter(events::Column::Status.eq(EventStatus::Accepted as i16))
        .filter(events::Column::RedactedBy.is_null())
        .into_tuple()
        .all(tx.connection())
        .await?;
    let senders = rows.iter().map(|(_, _, sender)| sender.as_str());
    let ours: Vec<String> = accounts::Entity::find()
        .select_only()
        .column(accounts::Column::UserId)
        .filter(accounts::Column::UserId.is_in(senders))
        .into_tuple()
        .all(tx.connection())
        .await?;
    let owed: Vec<_> = rows
        .into_iter()
        .filter(|(_, _, sender)| ours.contains(sender))
        .map(
            |(event_id, room_id, sender)| expiry_redactions::ActiveModel {
                event_id: Set(event_id),
                room_id: Set(room_id),
                sender: Set(sender),
            },
        )
        .collect();
    if owed.is_empty() {
        return Ok(());
    }
    expiry_redactions::Entity::insert_many(owed)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(tx.connection())
        .await?;
    Ok(())
}

impl Store {
    /// Events of which other servers may have to be told, at most `limit`.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for an unreadable row.
    pub async fn owed_redactions(&self, limit: u64) -> Result<Vec<OwedRedaction>, StoreError> {
        let rows = expiry_redactions::Entity::find()
            .order_by_asc(expiry_redactions::Column::EventId)
            .limit(limit)
            .all(self.reader())
            .await?;
        let corrupt = |column| StoreError::corrupt("expiry_redactions", column);
        rows.into_iter()
            .map(|row| {
                Ok(OwedRedaction {
                    event_id: OwnedEventId::try_from(row.event_id)
                        .map_err(|_| corrupt("event_id"))?,
                    room_id: OwnedRoomId::try_from(row.room_id).map_err(|_| corrupt("room_id"))?,
                    sender: OwnedUserId::try_from(row.sender).map_err(|_| corrupt("sender"))?,
                })
            })
            .collect()
    }

    /// A user's messages in a room that will expire, and those that have and of which others may have to be told: the newest
    /// `limit` of either, among the newest [`FLUSH_REACH_MAX`] events up to the room order `newest`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn expiring_of(
        &self,
        room: &RoomId,
        sender: &UserId,
        newest: i64,
        limit: u64,
    ) -> Result<Vec<OwnedEventId>, StoreError> {
        let mut ids: Vec<String> = expiry_redactions::Entity::find()
            .select_only()
            .column(expiry_redactions::Column::EventId)
            .filter(expiry_redactions::Column::RoomId.eq(room.as_str()))
            .filter(expiry_redactions::Column::Sender.eq(sender.as_str()))
            .limit(limit)
            .into_tuple()
            .all(self.reader())
            .await?;
        let living: Vec<String> = events::Entity::find()
            .select_only()
            .column(events::Column::EventId)
            .filter(events::Column::RoomId.eq(room.as_str()))
            .filter(events::Column::RoomOrder.gt(newest.saturating_sub(FLUSH_REACH_MAX)))
            .filter(events::Column::Sender.eq(sender.as_str()))
            .filter(events::Column::DestroyAt.is_not_null())
            .filter(events::Column::RedactedBy.is_null())
            .order_by_desc(events::Column::RoomOrder)
            .limit(limit)
            .into_tuple()
            .all(self.reader())
            .await?;
        ids.extend(living);
        parse_ids(ids)
    }
}

/// Forgets redactions that were sent, or need not or cannot be.
#[derive(Clone, Debug)]
pub struct SettleRedactions(pub Vec<OwnedEventId>);

impl Change for SettleRedactions {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let ids = self.0.iter().map(|id| id.as_str());
        expiry_redactions::Entity::delete_many()
            .filter(expiry_redactions::Column::EventId.is_in(ids))
            .exec(tx.connection())
            .await?;
        Ok(())
    }
}
