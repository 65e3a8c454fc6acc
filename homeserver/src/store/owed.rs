//! What the log and other tables hold for other servers, by position.
//!
//! Invariant: read only; each row that is owed is found by its position, so that a cursor is all that must be remembered.

use std::collections::HashMap;

use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, ServerName, UserId,
    events::receipt::ReceiptThread,
};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, Query},
};

use super::{
    LogEnd, LogKind, LogRow, Scope, Store, StoreError,
    entity::{log, receipts},
};

/// Rooms that one query asks for.
const ROOMS_PER_QUERY_MAX: usize = 500;

/// A user's public receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReceipt {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The user.
    pub user_id: OwnedUserId,
    /// The thread.
    pub thread: ReceiptThread,
    /// The event that was read.
    pub event_id: OwnedEventId,
    /// When.
    pub ts: MilliSecondsSinceUnixEpoch,
    /// Its position in the log.
    pub position: i64,
}

impl TryFrom<receipts::Model> for StoredReceipt {
    type Error = StoreError;

    fn try_from(row: receipts::Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::corrupt("receipts", column);
        let thread = match row.thread.as_str() {
            "" => ReceiptThread::Unthreaded,
            "main" => ReceiptThread::Main,
            id => ReceiptThread::Thread(OwnedEventId::try_from(id).map_err(|_| corrupt("thread"))?),
        };
        let ts = row.ts.try_into().map_err(|_| corrupt("ts"))?;
        Ok(Self {
            room_id: OwnedRoomId::try_from(row.room_id).map_err(|_| corrupt("room_id"))?,
            user_id: OwnedUserId::try_from(row.user_id).map_err(|_| corrupt("user_id"))?,
            thread,
            event_id: OwnedEventId::try_from(row.event_id).map_err(|_| corrupt("event_id"))?,
            ts: MilliSecondsSinceUnixEpoch(ts),
            position: row.position,
        })
    }
}

impl Store {
    /// The oldest position at which something is owed to this server alone, if anything ever was.
    ///
    /// # Errors
    /// What the database says.
    pub async fn oldest_owed_alone(&self, server: &ServerName) -> Result<Option<i64>, StoreError> {
        let oldest = self
            .log_of(Scope::Destination(server), 0, i64::MAX, LogEnd::Oldest, 1)
            .await?;
        Ok(oldest.first().map(|row| row.position))
    }

    /// The events that must be sent in these rooms with `after < position <= through`, oldest first, at most `limit`; with
    /// `newest_per_room`, only the newest of each room.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for an unreadable row.
    pub async fn owed_events(
        &self,
        rooms: &[&RoomId],
        after: i64,
        through: i64,
        newest_per_room: bool,
        limit: u64,
    ) -> Result<Vec<LogRow>, StoreError> {
        let mut found = Vec::new();
        for some in rooms.chunks(ROOMS_PER_QUERY_MAX) {
            let scopes: Vec<String> = some
                .iter()
                .map(|room| Scope::Room(room).to_string())
                .collect();
            let in_range = log::Column::Scope
                .is_in(scopes.iter().map(String::as_str))
                .and(log::Column::Kind.eq(LogKind::OwedEvent as i16))
                .and(log::Column::Position.gt(after))
                .and(log::Column::Position.lte(through));
            let mut query = log::Entity::find().filter(in_range.clone());
            if newest_per_room {
                let newest = Query::select()
                    .expr(Expr::col(log::Column::Position).max())
                    .from(log::Entity)
                    .and_where(in_range)
                    .group_by_col(log::Column::Scope)
                    .to_owned();
                query = query.filter(log::Column::Position.in_subquery(newest));
            }
            let rows = query
                .order_by_asc(log::Column::Position)
                .limit(limit)
                .all(self.reader())
                .await?;
            for row in rows {
                found.push(LogRow::try_from(row)?);
            }
        }
        found.sort_by_key(|row| row.position);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    /// For each of these local users, the newest change of one of his devices at or below `upto`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn device_changes_before(
        &self,
        users: &[&UserId],
        upto: i64,
    ) -> Result<HashMap<OwnedUserId, i64>, StoreError> {
        let scopes: Vec<String> = users
            .iter()
            .map(|user| Scope::Keys(user).to_string())
            .collect();
        let rows: Vec<(String, i64)> = log::Entity::find()
            .select_only()
            .column(log::Column::Scope)
            .column_as(log::Column::Position.max(), "newest")
            .filter(log::Column::Scope.is_in(scopes.iter().map(String::as_str)))
            .filter(log::Column::Kind.eq(LogKind::DeviceList as i16))
            .filter(log::Column::Reference.is_not_null())
            .filter(log::Column::Position.lte(upto))
            .group_by(log::Column::Scope)
            .into_tuple()
            .all(self.reader())
            .await?;
        let newest = rows.into_iter().filter_map(|(scope, position)| {
            let user = OwnedUserId::try_from(scope.get(1..)?).ok()?;
            Some((user, position))
        });
        Ok(newest.collect())
    }

    /// The public receipts of the users of `server` in these rooms with `after < position <= through`, oldest first, at most
    /// `limit`.
    ///
    /// # Errors
    /// As [`Store::owed_events`].
    pub async fn public_receipts(
        &self,
        server: &ServerName,
        rooms: &[&RoomId],
        after: i64,
        through: i64,
        limit: u64,
    ) -> Result<Vec<StoredReceipt>, StoreError> {
        let mut found = Vec::new();
        for some in rooms.chunks(ROOMS_PER_QUERY_MAX) {
            let rows = receipts::Entity::find()
                .filter(receipts::Column::RoomId.is_in(some.iter().map(|room| room.as_str())))
                .filter(receipts::Column::Position.gt(after))
                .filter(receipts::Column::Position.lte(through))
                .filter(receipts::Column::ReceiptType.eq("m.read"))
                .filter(receipts::Column::UserId.like(format!("%:{server}")))
                .order_by_asc(receipts::Column::Position)
                .limit(limit)
                .all(self.reader())
                .await?;
            for row in rows {
                found.push(StoredReceipt::try_from(row)?);
            }
        }
        found.retain(|receipt: &StoredReceipt| receipt.user_id.server_name() == server);
        found.sort_by_key(|receipt| receipt.position);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }
}
