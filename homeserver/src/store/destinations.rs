//! What is owed to other servers: their cursors, and the rooms in which they are.
//!
//! Invariant: a destination is a cursor over the log, not a copy of it. A server is owed the events of a room whose
//! positions lie in the interval in which it was joined, the event that ended it included.

use passeur_protocol::destination::{InFlight, Saved};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect,
    sea_query::{OnConflict, Query},
};

use super::{
    Change, DeleteEdus, Membership, Store, StoreError, Tx,
    entity::{destination_rooms, destinations, room_members},
};

/// A destination as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationRow {
    /// Cursor, back-off and the transaction in flight.
    pub saved: Saved,
    /// The items of the transaction in flight, as the sender wrote them.
    pub items: Option<String>,
}

/// A server's stay in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The server.
    pub destination: OwnedServerName,
    /// The room.
    pub room_id: OwnedRoomId,
    /// It is owed what has a greater position.
    pub joined_from: i64,
    /// It is owed nothing that has a greater position; none while it is joined.
    pub left_at: Option<i64>,
}

impl Stay {
    /// Whether an event at `position` is owed.
    #[must_use]
    pub fn covers(&self, position: i64) -> bool {
        position > self.joined_from && self.left_at.is_none_or(|left| position <= left)
    }
}

impl TryFrom<destination_rooms::Model> for Stay {
    type Error = StoreError;

    fn try_from(row: destination_rooms::Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::corrupt("destination_rooms", column);
        Ok(Self {
            destination: OwnedServerName::try_from(row.destination)
                .map_err(|_| corrupt("destination"))?,
            room_id: OwnedRoomId::try_from(row.room_id).map_err(|_| corrupt("room_id"))?,
            joined_from: row.joined_from,
            left_at: row.left_at,
        })
    }
}

impl TryFrom<destinations::Model> for DestinationRow {
    type Error = StoreError;

    fn try_from(row: destinations::Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::corrupt("destinations", column);
        let in_flight = row.in_flight_id.zip(row.in_flight_through);
        Ok(Self {
            saved: Saved {
                cursor: row.cursor,
                in_flight: in_flight.map(|(txn_id, through)| InFlight { txn_id, through }),
                failures: u32::try_from(row.failures).map_err(|_| corrupt("failures"))?,
                failing_since_ms: row
                    .failing_since_ts
                    .map(u64::try_from)
                    .transpose()
                    .map_err(|_| corrupt("failing_since_ts"))?,
                retry_at_ms: u64::try_from(row.retry_at_ts).map_err(|_| corrupt("retry_at_ts"))?,
                catch_up_through: row.catch_up_through,
            },
            items: row.in_flight,
        })
    }
}

impl Store {
    /// A destination, if anything was ever owed to it.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for an unreadable row.
    pub async fn destination(
        &self,
        server: &ServerName,
    ) -> Result<Option<DestinationRow>, StoreError> {
        let row = destinations::Entity::find_by_id(server.as_str())
            .one(self.reader())
            .await?;
        row.map(DestinationRow::try_from).transpose()
    }

    /// All destinations.
    ///
    /// # Errors
    /// As [`Store::destination`].
    pub async fn destinations(&self) -> Result<Vec<OwnedServerName>, StoreError> {
        let names: Vec<String> = destinations::Entity::find()
            .select_only()
            .column(destinations::Column::Destination)
            .into_tuple()
            .all(self.reader())
            .await?;
        server_names(names)
    }

    /// The rooms in which a server is or was joined.
    ///
    /// # Errors
    /// As [`Store::destination`].
    pub async fn stays_of(&self, server: &ServerName) -> Result<Vec<Stay>, StoreError> {
        let rows = destination_rooms::Entity::find()
            .filter(destination_rooms::Column::Destination.eq(server.as_str()))
            .all(self.reader())
            .await?;
        rows.into_iter().map(Stay::try_from).collect()
    }

    /// The servers that are or were joined in a room.
    ///
    /// # Errors
    /// As [`Store::destination`].
    pub async fn stays_in(&self, room: &RoomId) -> Result<Vec<Stay>, StoreError> {
        let rows = destination_rooms::Entity::find()
            .filter(destination_rooms::Column::RoomId.eq(room.as_str()))
            .all(self.reader())
            .await?;
        rows.into_iter().map(Stay::try_from).collect()
    }

    /// The servers that are joined in a room in which this local user is joined.
    ///
    /// # Errors
    /// As [`Store::destination`].
    pub async fn servers_sharing_with(
        &self,
        user: &UserId,
    ) -> Result<Vec<OwnedServerName>, StoreError> {
        let rooms = Query::select()
            .column(room_members::Column::RoomId)
            .from(room_members::Entity)
            .and_where(room_members::Column::UserId.eq(user.as_str()))
            .and_where(room_members::Column::Membership.eq(Membership::Join.as_str()))
            .to_owned();
        let names: Vec<String> = destination_rooms::Entity::find()
            .select_only()
            .column(destination_rooms::Column::Destination)
            .distinct()
            .filter(destination_rooms::Column::LeftAt.is_null())
            .filter(destination_rooms::Column::RoomId.in_subquery(rooms))
            .into_tuple()
            .all(self.reader())
            .await?;
        server_names(names)
    }

    /// Our users who are joined in a room in which this server is joined.
    ///
    /// # Errors
    /// As [`Store::destination`].
    pub async fn users_sharing_with_server(
        &self,
        server: &ServerName,
    ) -> Result<Vec<ruma::OwnedUserId>, StoreError> {
        let rooms = Query::select()
            .column(destination_rooms::Column::RoomId)
            .from(destination_rooms::Entity)
            .and_where(destination_rooms::Column::Destination.eq(server.as_str()))
            .and_where(destination_rooms::Column::LeftAt.is_null())
            .to_owned();
        let names: Vec<String> = room_members::Entity::find()
            .select_only()
            .column(room_members::Column::UserId)
            .distinct()
            .filter(room_members::Column::IsLocal.eq(true))
            .filter(room_members::Column::Membership.eq(Membership::Join.as_str()))
            .filter(room_members::Column::RoomId.in_subquery(rooms))
            .into_tuple()
            .all(self.reader())
            .await?;
        let users = names.into_iter().map(|name| {
            ruma::OwnedUserId::try_from(name)
                .map_err(|_| StoreError::corrupt("room_members", "user_id"))
        });
        users.collect()
    }

    /// Whether this server is joined in a room in which this user is joined.
    ///
    /// # Errors
    /// As [`Store::destination`].
    pub async fn server_shares_with(
        &self,
        server: &ServerName,
        user: &UserId,
    ) -> Result<bool, StoreError> {
        let servers = self.servers_sharing_with(user).await?;
        Ok(servers.iter().any(|name| name == server))
    }
}

fn server_names(names: Vec<String>) -> Result<Vec<OwnedServerName>, StoreError> {
    names
        .into_iter()
        .map(|name| {
            OwnedServerName::try_from(name)
                .map_err(|_| StoreError::corrupt("destinations", "destination"))
        })
        .collect()
}

/// Stores where a destination stands.
#[derive(Debug, Clone)]
pub struct SaveDestination {
    /// The server.
    pub server: OwnedServerName,
    /// Its state.
    pub row: DestinationRow,
}

impl Change for SaveDestination {
    /// Whether what was settled had a lifetime: its bytes must leave the files too.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        use destinations::Column;
        let saved = &self.row.saved;
        let in_flight = saved.in_flight.as_ref();
        let row = destinations::ActiveModel {
            destination: Set(self.server.to_string()),
            cursor: Set(saved.cursor),
            catch_up_through: Set(saved.catch_up_through),
            failures: Set(i32::try_from(saved.failures).unwrap_or(i32::MAX)),
            failing_since_ts: Set(saved.failing_since_ms.map(to_ts)),
            retry_at_ts: Set(to_ts(saved.retry_at_ms)),
            in_flight_id: Set(in_flight.map(|txn| txn.txn_id.clone())),
            in_flight_through: Set(in_flight.map(|txn| txn.through)),
            in_flight: Set(in_flight.and(self.row.items.clone())),
        };
        let replace = OnConflict::column(Column::Destination)
            .update_columns([
                Column::Cursor,
                Column::CatchUpThrough,
                Column::Failures,
                Column::FailingSinceTs,
                Column::RetryAtTs,
                Column::InFlightId,
                Column::InFlightThrough,
                Column::InFlight,
            ])
            .to_owned();
        destinations::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(tx.connection())
            .await?;
        // What was owed to this server alone and is settled.
        let settled = DeleteEdus {
            destination: self.server.clone(),
            upto: saved.cursor,
        };
        settled.apply(tx).await
    }
}

fn to_ts(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
