//! Receipts: the newest of each kind that a user has sent in each room.
//!
//! Invariant: a receipt only moves forward in the room's order. The log tells public ones to the
//! room and private ones to their user; the reference of a row is a [`ReceiptNote`] as JSON, so
//! that telling it needs no further read.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#receipts>

use std::borrow::Cow;

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};
use serde::{Deserialize, Serialize};

use super::{
    Change, LogKind, Scope, Store, StoreError, Tx,
    entity::{account_data, receipts},
};

/// The type of receipts that everybody in the room sees.
pub const READ: &str = "m.read";
/// The type of receipts that only their user sees.
pub const READ_PRIVATE: &str = "m.read.private";
/// The type of the account data that says up to where a room was read in full.
const FULLY_READ: &str = "m.fully_read";
/// Receipts of one room that an answer tells at most: the newest.
const RECEIPTS_PER_ROOM_MAX: u64 = 1000;
/// Rooms that one query asks for.
const ROOMS_PER_QUERY_MAX: usize = 500;

/// What a row of the log says of a receipt: `[room or user, event, thread, ts]`. In the scope of
/// a room, `of` is the user; in the scope of a user, it is the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptNote<'a>(
    /// The user or the room.
    #[serde(borrow)]
    pub Cow<'a, str>,
    /// The event that was read.
    #[serde(borrow)]
    pub Cow<'a, str>,
    /// The thread; empty for none.
    #[serde(borrow)]
    pub Cow<'a, str>,
    /// When, in ms since the epoch.
    pub i64,
);

/// One receipt, as last sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRow {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The user.
    pub user_id: OwnedUserId,
    /// Whether only the user sees it.
    pub private: bool,
    /// The thread; empty for none.
    pub thread: String,
    /// The event that was read.
    pub event_id: OwnedEventId,
    /// Where that event stands in the timeline.
    pub room_order: i64,
    /// When, in ms since the epoch.
    pub ts: i64,
    /// Its position in the log.
    pub position: i64,
}

impl TryFrom<receipts::Model> for ReceiptRow {
    type Error = StoreError;

    fn try_from(row: receipts::Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::corrupt("receipts", column);
        Ok(Self {
            room_id: OwnedRoomId::try_from(row.room_id).map_err(|_| corrupt("room_id"))?,
            user_id: OwnedUserId::try_from(row.user_id).map_err(|_| corrupt("user_id"))?,
            private: row.receipt_type == READ_PRIVATE,
            thread: row.thread,
            event_id: OwnedEventId::try_from(row.event_id).map_err(|_| corrupt("event_id"))?,
            room_order: row.room_order,
            ts: row.ts,
            position: row.position,
        })
    }
}

/// Records a receipt. The output is whether it moved forward; if not, nothing is written.
#[derive(Clone, Debug)]
pub struct RecordReceipt {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The user.
    pub user_id: OwnedUserId,
    /// Whether only the user sees it.
    pub private: bool,
    /// The thread (`main` or its root); empty for none.
    pub thread: String,
    /// The event that was read.
    pub event_id: OwnedEventId,
    /// Where that event stands in the timeline.
    pub room_order: i64,
    /// When, in ms since the epoch.
    pub ts: i64,
}

impl RecordReceipt {
    fn kind(&self) -> &'static str {
        if self.private { READ_PRIVATE } else { READ }
    }

    fn note(&self) -> Result<String, StoreError> {
        let of = if self.private {
            self.room_id.as_str()
        } else {
            self.user_id.as_str()
        };
        let (event, thread) = (self.event_id.as_str(), self.thread.as_str());
        let note = ReceiptNote(of.into(), event.into(), thread.into(), self.ts);
        serde_json::to_string(&note).map_err(|_| StoreError::corrupt("receipts", "event_id"))
    }
}

impl Change for RecordReceipt {
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        let key = (
            self.room_id.as_str().to_owned(),
            self.user_id.as_str().to_owned(),
            self.kind().to_owned(),
            self.thread.clone(),
        );
        let known: Option<i64> = receipts::Entity::find_by_id(key)
            .select_only()
            .column(receipts::Column::RoomOrder)
            .into_tuple()
            .one(tx.connection())
            .await?;
        if known.is_some_and(|known| known >= self.room_order) {
            return Ok(false);
        }
        let scope = if self.private {
            Scope::User(&self.user_id)
        } else {
            Scope::Room(&self.room_id)
        };
        let position = tx.append(scope, LogKind::Receipt, Some(self.note()?));
        let row = receipts::ActiveModel {
            room_id: Set(self.room_id.as_str().to_owned()),
            user_id: Set(self.user_id.as_str().to_owned()),
            receipt_type: Set(self.kind().to_owned()),
            thread: Set(self.thread.clone()),
            event_id: Set(self.event_id.as_str().to_owned()),
            room_order: Set(self.room_order),
            ts: Set(self.ts),
            position: Set(position),
        };
        let key = [
            receipts::Column::RoomId,
            receipts::Column::UserId,
            receipts::Column::ReceiptType,
            receipts::Column::Thread,
        ];
        let moved = [
            receipts::Column::EventId,
            receipts::Column::RoomOrder,
            receipts::Column::Ts,
            receipts::Column::Position,
        ];
        receipts::Entity::insert(row)
            .on_conflict(OnConflict::columns(key).update_columns(moved).to_owned())
            .exec_without_returning(tx.connection())
            .await?;
        Ok(true)
    }
}

/// Records up to where a user has read a room in full, as account data of the room.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#fully-read-markers>
#[derive(Clone, Debug)]
pub struct RecordFullyRead {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The user.
    pub user_id: OwnedUserId,
    /// The event that was read.
    pub event_id: OwnedEventId,
}

impl Change for RecordFullyRead {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let content = serde_json::json!({ "event_id": self.event_id }).to_string();
        let (room, user) = (self.room_id.as_str(), self.user_id.as_str());
        let key = (user.to_owned(), room.to_owned(), FULLY_READ.to_owned());
        let known = account_data::Entity::find_by_id(key)
            .one(tx.connection())
            .await?;
        if known.is_some_and(|known| known.content == content) {
            return Ok(());
        }
        let reference = format!("{room} {FULLY_READ}");
        tx.append(
            Scope::User(&self.user_id),
            LogKind::RoomAccountData,
            Some(reference),
        );
        let row = account_data::ActiveModel {
            user_id: Set(user.to_owned()),
            room_id: Set(room.to_owned()),
            event_type: Set(FULLY_READ.to_owned()),
            content: Set(content),
        };
        let key = [
            account_data::Column::UserId,
            account_data::Column::RoomId,
            account_data::Column::EventType,
        ];
        let update = OnConflict::columns(key)
            .update_column(account_data::Column::Content)
            .to_owned();
        account_data::Entity::insert(row)
            .on_conflict(update)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(())
    }
}

impl Store {
    /// The receipts of these rooms that `user` may see (public ones and the user's own) with
    /// `after < position <= upto`; for each room at most the newest thousand of those asked for.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn receipts_in(
        &self,
        rooms: &[&RoomId],
        user: &UserId,
        after: i64,
        upto: i64,
    ) -> Result<Vec<ReceiptRow>, StoreError> {
        let mut found = Vec::new();
        for some in rooms.chunks(ROOMS_PER_QUERY_MAX) {
            let visible = Condition::any()
                .add(receipts::Column::ReceiptType.eq(READ))
                .add(receipts::Column::UserId.eq(user.as_str()));
            let rows = receipts::Entity::find()
                .filter(receipts::Column::RoomId.is_in(some.iter().map(|room| room.as_str())))
                .filter(receipts::Column::Position.gt(after))
                .filter(receipts::Column::Position.lte(upto))
                .filter(visible)
                .order_by_desc(receipts::Column::Position)
                .limit(RECEIPTS_PER_ROOM_MAX * some.len() as u64)
                .all(self.reader())
                .await?;
            for row in rows {
                found.push(ReceiptRow::try_from(row)?);
            }
        }
        Ok(found)
    }

    /// A user's own receipts in a room.
    ///
    /// # Errors
    /// As [`Store::receipts_in`].
    pub async fn receipts_of(
        &self,
        room: &RoomId,
        user: &UserId,
    ) -> Result<Vec<ReceiptRow>, StoreError> {
        let rows = receipts::Entity::find()
            .filter(receipts::Column::RoomId.eq(room.as_str()))
            .filter(receipts::Column::UserId.eq(user.as_str()))
            .all(self.reader())
            .await?;
        rows.into_iter().map(ReceiptRow::try_from).collect()
    }
}
