//! What a sync asks of the log and of the events beside single rows.
//!
//! Invariant: nothing here depends on how much a room or a user has, but on what is asked for.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use quick_cache::{Weighter, sync::Cache};
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId};
use sea_orm::{ColumnTrait, EntityTrait, JoinType, QueryFilter, QueryOrder, QuerySelect};

use super::{
    LogKind, LogRow, Scope, Store, StoreError, bounded,
    entity::{account_data, event_relations, events, log, transaction_ids},
};

/// Scopes or ids that one query asks for.
const PER_QUERY_MAX: usize = 500;

/// Expired events that one answer names.
const EXPIRED_MAX: u64 = 1000;

/// Relations that one query reads: more have no place in an answer.
const CHILDREN_MAX: u64 = 5000;

/// How much memory remembered transactions may take, in bytes.
const TRANSACTIONS_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What an event without a transaction takes, in bytes.
const TRANSACTION_BYTES_BASE: u64 = 150;

/// The transaction by which an event was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTransaction {
    /// With which device of the event's sender.
    pub device_id: String,
    /// What identifies the transaction for the device.
    pub key: String,
}

/// The transactions of events, and which have none.
pub(super) type TransactionCache =
    Cache<OwnedEventId, Option<Arc<EventTransaction>>, TransactionWeight>;

/// Weighs transactions by the memory that they take: their names are the clients'.
#[derive(Clone, Debug)]
pub(super) struct TransactionWeight;

impl Weighter<OwnedEventId, Option<Arc<EventTransaction>>> for TransactionWeight {
    fn weight(&self, _: &OwnedEventId, transaction: &Option<Arc<EventTransaction>>) -> u64 {
        let names = transaction
            .as_ref()
            .map_or(0, |sent| sent.device_id.len() + sent.key.len());
        TRANSACTION_BYTES_BASE + names as u64
    }
}

/// A new, empty cache.
pub(super) fn transaction_cache() -> TransactionCache {
    bounded(
        TRANSACTION_BYTES_BASE,
        TRANSACTIONS_BYTES_MAX,
        TransactionWeight,
    )
}

/// How one event relates to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationRow {
    /// What is related to.
    pub parent: OwnedEventId,
    /// The event that relates.
    pub child: OwnedEventId,
    /// How.
    pub rel_type: String,
}

/// One piece of a user's account data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountDatum {
    /// The room that it is for; none for global data.
    pub room_id: Option<OwnedRoomId>,
    /// Its type.
    pub kind: String,
    /// Its content: a JSON object.
    pub content: String,
}

impl Store {
    /// Those of the rooms in which something happened after a position: from the cache of heads
    /// where they are remembered, and in few queries for the others.
    ///
    /// # Errors
    /// What the database says.
    pub async fn rooms_changed_since(
        &self,
        rooms: &[&RoomId],
        after: i64,
    ) -> Result<Vec<OwnedRoomId>, StoreError> {
        let mut changed = Vec::new();
        let mut unknown = HashMap::new();
        for room in rooms {
            let scope = Scope::Room(room).to_string();
            match self.heads().of(&scope) {
                Some(newest) if newest > after => changed.push((*room).to_owned()),
                Some(_) => {}
                None => {
                    unknown.insert(scope, *room);
                }
            }
        }
        let scopes: Vec<&String> = unknown.keys().collect();
        for some in scopes.chunks(PER_QUERY_MAX) {
            let found: Vec<String> = log::Entity::find()
                .select_only()
                .column(log::Column::Scope)
                .distinct()
                .filter(log::Column::Scope.is_in(some.iter().map(|scope| scope.as_str())))
                .filter(log::Column::Position.gt(after))
                .into_tuple()
                .all(self.reader())
                .await?;
            changed.extend(
                found
                    .iter()
                    .filter_map(|scope| unknown.get(scope))
                    .map(|room| (*room).to_owned()),
            );
        }
        Ok(changed)
    }

    /// The newest rows of a room's log with `after < position <= upto` that tell of events or
    /// state, newest first, at most `limit`: receipts and what has expired are left out.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for a kind that is not known.
    pub async fn events_logged(
        &self,
        room: &RoomId,
        after: i64,
        upto: i64,
        limit: u64,
    ) -> Result<Vec<LogRow>, StoreError> {
        let rows = log::Entity::find()
            .filter(log::Column::Scope.eq(Scope::Room(room).to_string()))
            .filter(log::Column::Position.gt(after))
            .filter(log::Column::Position.lte(upto))
            .filter(log::Column::Kind.is_not_in([LogKind::Receipt as i16, LogKind::Expired as i16]))
            .order_by_desc(log::Column::Position)
            .limit(limit)
            .all(self.reader())
            .await?;
        rows.into_iter().map(LogRow::try_from).collect()
    }

    /// The events of a room whose content was destroyed with `after < position <= upto`: the newest,
    /// at most [`EXPIRED_MAX`].
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn expired_logged(
        &self,
        room: &RoomId,
        after: i64,
        upto: i64,
    ) -> Result<Vec<OwnedEventId>, StoreError> {
        let ids: Vec<Option<String>> = log::Entity::find()
            .select_only()
            .column(log::Column::Reference)
            .filter(log::Column::Scope.eq(Scope::Room(room).to_string()))
            .filter(log::Column::Position.gt(after))
            .filter(log::Column::Position.lte(upto))
            .filter(log::Column::Kind.eq(LogKind::Expired as i16))
            .order_by_desc(log::Column::Position)
            .limit(EXPIRED_MAX)
            .into_tuple()
            .all(self.reader())
            .await?;
        let mut ids = super::events::parse_ids(ids.into_iter().flatten().collect())?;
        ids.reverse();
        Ok(ids)
    }

    /// The newest event of a room's timeline at a position.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if it cannot be read.
    pub async fn newest_event_at(
        &self,
        room: &RoomId,
        position: i64,
    ) -> Result<Option<OwnedEventId>, StoreError> {
        let id: Option<Option<String>> = log::Entity::find()
            .select_only()
            .column(log::Column::Reference)
            .filter(log::Column::Scope.eq(Scope::Room(room).to_string()))
            .filter(log::Column::Position.lte(position))
            .filter(log::Column::Kind.is_in([LogKind::Event as i16, LogKind::OwedEvent as i16]))
            .order_by_desc(log::Column::Position)
            .limit(1)
            .into_tuple()
            .one(self.reader())
            .await?;
        let corrupt = |_| StoreError::corrupt("log", "reference");
        id.flatten()
            .map(OwnedEventId::try_from)
            .transpose()
            .map_err(corrupt)
    }

    /// The room order of an event, if it stands in a timeline.
    ///
    /// # Errors
    /// What the database says.
    pub async fn room_order_of(&self, event: &EventId) -> Result<Option<i64>, StoreError> {
        let order: Option<Option<i64>> = events::Entity::find_by_id(event.as_str())
            .select_only()
            .column(events::Column::RoomOrder)
            .into_tuple()
            .one(self.reader())
            .await?;
        Ok(order.flatten())
    }

    /// The transactions by which events were sent, for those of `ids` that were sent by one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn transactions_of(
        &self,
        ids: &[&EventId],
    ) -> Result<HashMap<OwnedEventId, Arc<EventTransaction>>, StoreError> {
        let mut found = HashMap::new();
        let mut wanted = Vec::new();
        for id in ids {
            match self.transaction_cache.get(*id) {
                Some(Some(transaction)) => {
                    found.insert((*id).to_owned(), transaction);
                }
                Some(None) => {}
                None => wanted.push(*id),
            }
        }
        for some in wanted.chunks(PER_QUERY_MAX) {
            let read = self.read_transactions(some).await?;
            for id in some {
                // An event and its transaction are committed together, so none stays none.
                let transaction = read.get(*id).cloned();
                self.transaction_cache.insert((*id).to_owned(), transaction);
            }
            found.extend(read);
        }
        Ok(found)
    }

    async fn read_transactions(
        &self,
        ids: &[&EventId],
    ) -> Result<HashMap<OwnedEventId, Arc<EventTransaction>>, StoreError> {
        let rows: Vec<(String, String, String)> = transaction_ids::Entity::find()
            .select_only()
            .column(transaction_ids::Column::EventId)
            .column(transaction_ids::Column::DeviceId)
            .column(transaction_ids::Column::TxnKey)
            .filter(transaction_ids::Column::EventId.is_in(ids.iter().map(|id| id.as_str())))
            .into_tuple()
            .all(self.reader())
            .await?;
        let read = rows.into_iter().map(|(id, device_id, key)| {
            let corrupt = |_| StoreError::corrupt("transaction_ids", "event_id");
            let id = OwnedEventId::try_from(id).map_err(corrupt)?;
            Ok((id, Arc::new(EventTransaction { device_id, key })))
        });
        read.collect()
    }

    /// A user's account data of one room.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn account_data_of_room(
        &self,
        user: &UserId,
        room: &RoomId,
    ) -> Result<Vec<AccountDatum>, StoreError> {
        let rows = account_data::Entity::find()
            .filter(account_data::Column::UserId.eq(user.as_str()))
            .filter(account_data::Column::RoomId.eq(room.as_str()))
            .all(self.reader());
        rows.await?.into_iter().map(datum).collect()
    }

    /// A user's account data, global and of rooms: all of it, or that of some types.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn account_data_of(
        &self,
        user: &UserId,
        kinds: Option<&BTreeSet<String>>,
    ) -> Result<Vec<AccountDatum>, StoreError> {
        let mut query =
            account_data::Entity::find().filter(account_data::Column::UserId.eq(user.as_str()));
        if let Some(kinds) = kinds {
            query = query
                .filter(account_data::Column::EventType.is_in(kinds.iter().map(String::as_str)));
        }
        let rows = query.all(self.reader()).await?;
        rows.into_iter().map(datum).collect()
    }

    /// The events that relate to any of `parents` in one of these ways; at most
    /// [`CHILDREN_MAX`], the newest.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn children_of(
        &self,
        parents: &[&EventId],
        rel_types: &[&str],
    ) -> Result<Vec<RelationRow>, StoreError> {
        let mut found = Vec::new();
        for some in parents.chunks(PER_QUERY_MAX) {
            let child = event_relations::Entity::belongs_to(events::Entity)
                .from(event_relations::Column::Child)
                .to(events::Column::EventId);
            let rows = event_relations::Entity::find()
                .filter(event_relations::Column::Parent.is_in(some.iter().map(|id| id.as_str())))
                .filter(event_relations::Column::RelType.is_in(rel_types.iter().copied()))
                .join(JoinType::InnerJoin, child.into())
                .order_by_desc(events::Column::RoomOrder)
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
}

fn datum(row: account_data::Model) -> Result<AccountDatum, StoreError> {
    let room_id = (!row.room_id.is_empty()).then(|| OwnedRoomId::try_from(row.room_id));
    let corrupt = |_| StoreError::corrupt("account_data", "room_id");
    Ok(AccountDatum {
        room_id: room_id.transpose().map_err(corrupt)?,
        kind: row.event_type,
        content: row.content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_of_transactions_take_no_more_memory() {
        let cache = transaction_cache();
        for number in 0..20_000 {
            let id = OwnedEventId::try_from(format!("$event{number}")).unwrap();
            let sent = EventTransaction {
                device_id: "D".repeat(250),
                key: "k".repeat(300),
            };
            cache.insert(id, Some(Arc::new(sent)));
        }
        let kept = cache.iter().map(|(_, sent)| sent.unwrap().key.len() + 250);
        let bytes: usize = kept.sum();
        assert!(
            bytes > 0 && bytes as u64 <= TRANSACTIONS_BYTES_MAX,
            "{bytes}"
        );
    }
}
