//! Rooms as last committed, and who is in them.
//!
//! Invariant: `room_members` is the projection of each room's current state on its members, and
//! holds besides the invites and knocks of local users in rooms that this server is not in.

use std::str::FromStr;

use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, UserId,
    events::room::member::MembershipState,
};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, Query},
};

use super::{
    AccountState, Change, Store, StoreError, Tx,
    entity::{accounts, missing_events, profiles, room_members, rooms, transaction_ids},
    events::parse_ids,
};

/// Forgets the oldest transactions of clients: a request that is repeated later is a new one.
#[derive(Clone, Copy, Debug)]
pub struct ForgetTransactions {
    /// Those made before this moment are forgotten, in ms since the epoch.
    pub before_ms: i64,
}

impl Change for ForgetTransactions {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        transaction_ids::Entity::delete_many()
            .filter(transaction_ids::Column::CreatedTs.lt(self.before_ms))
            .exec(tx.connection())
            .await?;
        Ok(())
    }
}

/// A membership: `join`, `invite`, `leave`, `ban` or `knock`.
pub type Membership = MembershipState;

/// A room, as last committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRow {
    /// Its id.
    pub room_id: OwnedRoomId,
    /// Its room version.
    pub version: RoomVersionId,
    /// Moves with every accepted event.
    pub tip: i64,
    /// Moves only when the resolved current state changes.
    pub state_revision: i64,
    /// The current state, as a state group.
    pub state_group: i64,
    /// The forward extremities.
    pub extremities: Vec<OwnedEventId>,
    /// The greatest depth among them.
    pub depth: i64,
    /// The room order of the oldest event of the timeline.
    pub order_min: i64,
    /// The room order of the newest event of the timeline.
    pub order_max: i64,
}

/// The current membership of one user in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipRow {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The user.
    pub user_id: OwnedUserId,
    /// How they are related.
    pub membership: Membership,
    /// The event that says so.
    pub event_id: OwnedEventId,
    /// Its position in the log (of the user's scope, for a local user).
    pub position: i64,
    /// Whether the user is one of ours.
    pub is_local: bool,
    /// Whether the user has forgotten the room.
    pub forgotten: bool,
    /// For invites and knocks of rooms that we are not in: a JSON list of stripped state.
    pub stripped_state: Option<String>,
}

impl TryFrom<rooms::Model> for RoomRow {
    type Error = StoreError;

    fn try_from(row: rooms::Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::corrupt("rooms", column);
        Ok(Self {
            room_id: OwnedRoomId::try_from(row.room_id).map_err(|_| corrupt("room_id"))?,
            version: RoomVersionId::try_from(row.version).map_err(|_| corrupt("version"))?,
            tip: row.tip,
            state_revision: row.state_revision,
            state_group: row.state_group,
            extremities: serde_json::from_str(&row.extremities)
                .map_err(|_| corrupt("extremities"))?,
            depth: row.depth,
            order_min: row.order_min,
            order_max: row.order_max,
        })
    }
}

impl TryFrom<room_members::Model> for MembershipRow {
    type Error = StoreError;

    fn try_from(row: room_members::Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::corrupt("room_members", column);
        Ok(Self {
            room_id: OwnedRoomId::try_from(row.room_id).map_err(|_| corrupt("room_id"))?,
            user_id: OwnedUserId::from_str(&row.user_id).map_err(|_| corrupt("user_id"))?,
            membership: row.membership.as_str().into(),
            event_id: OwnedEventId::try_from(row.event_id).map_err(|_| corrupt("event_id"))?,
            position: row.position,
            is_local: row.is_local,
            forgotten: row.forgotten,
            stripped_state: row.stripped_state,
        })
    }
}

impl Store {
    /// Memberships that are held by users whose accounts are over: joined, invited or knocking.
    ///
    /// # Errors
    /// What the database says.
    pub async fn departed_members(
        &self,
        limit: u64,
    ) -> Result<Vec<(OwnedRoomId, OwnedUserId)>, StoreError> {
        use room_members::Column;
        let over = Query::select()
            .column(accounts::Column::UserId)
            .from(accounts::Entity)
            .and_where(accounts::Column::State.eq(AccountState::Deactivated as i16))
            .to_owned();
        let held = [Membership::Join, Membership::Invite, Membership::Knock];
        let rows: Vec<(String, String)> = room_members::Entity::find()
            .select_only()
            .column(Column::RoomId)
            .column(Column::UserId)
            .filter(Column::UserId.in_subquery(over))
            .filter(Column::Membership.is_in(held.iter().map(Membership::as_str)))
            .limit(limit)
            .into_tuple()
            .all(self.reader())
            .await?;
        let corrupt = |column| StoreError::corrupt("room_members", column);
        let parse = |(room, user): (String, String)| {
            Ok((
                OwnedRoomId::try_from(room).map_err(|_| corrupt("room_id"))?,
                OwnedUserId::try_from(user).map_err(|_| corrupt("user_id"))?,
            ))
        };
        rows.into_iter().map(parse).collect()
    }

    /// The rooms that are held, at most `limit`.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if a row cannot be read.
    pub async fn room_ids(&self, limit: u64) -> Result<Vec<OwnedRoomId>, StoreError> {
        let ids: Vec<String> = rooms::Entity::find()
            .select_only()
            .column(rooms::Column::RoomId)
            .limit(limit)
            .into_tuple()
            .all(self.reader())
            .await?;
        let parse =
            |id| OwnedRoomId::try_from(id).map_err(|_| StoreError::corrupt("rooms", "room_id"));
        ids.into_iter().map(parse).collect()
    }

    /// A room's row.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] if it cannot be read.
    pub async fn room(&self, room: &RoomId) -> Result<Option<RoomRow>, StoreError> {
        let row = rooms::Entity::find_by_id(room.as_str())
            .one(self.reader())
            .await?;
        row.map(RoomRow::try_from).transpose()
    }

    /// All members of a room, whatever their membership.
    ///
    /// # Errors
    /// As [`Store::room`].
    pub async fn members_of(&self, room: &RoomId) -> Result<Vec<MembershipRow>, StoreError> {
        let rows = room_members::Entity::find()
            .filter(room_members::Column::RoomId.eq(room.as_str()))
            .all(self.reader())
            .await?;
        rows.into_iter().map(MembershipRow::try_from).collect()
    }

    /// All rooms that a user has anything to do with.
    ///
    /// # Errors
    /// As [`Store::room`].
    pub async fn memberships_of(&self, user: &UserId) -> Result<Vec<MembershipRow>, StoreError> {
        let rows = room_members::Entity::find()
            .filter(room_members::Column::UserId.eq(user.as_str()))
            .all(self.reader())
            .await?;
        rows.into_iter().map(MembershipRow::try_from).collect()
    }

    /// The ids of all rooms in which somebody of this server is joined.
    ///
    /// # Errors
    /// As [`Store::room`].
    pub async fn rooms_joined_locally(&self) -> Result<Vec<OwnedRoomId>, StoreError> {
        let ids: Vec<String> = room_members::Entity::find()
            .select_only()
            .column(room_members::Column::RoomId)
            .distinct()
            .filter(room_members::Column::IsLocal.eq(true))
            .filter(room_members::Column::Membership.eq(Membership::Join.as_str()))
            .into_tuple()
            .all(self.reader())
            .await?;
        ids.into_iter()
            .map(|id| {
                OwnedRoomId::try_from(id)
                    .map_err(|_| StoreError::corrupt("room_members", "room_id"))
            })
            .collect()
    }

    /// The events that transactions of clients made: `(user, device, key)` to event id, for those
    /// of `wanted` that were made.
    ///
    /// # Errors
    /// As [`Store::room`].
    pub async fn transactions(
        &self,
        wanted: &[(&UserId, &str, &str)],
    ) -> Result<Vec<((String, String, String), OwnedEventId)>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        use transaction_ids::Column;
        // Each as a whole, as the table's key has it: by its key alone, a transaction is found by looking at all of them.
        let whole = |(user, device, key): &(&UserId, &str, &str)| {
            Column::UserId
                .eq(user.as_str())
                .and(Column::DeviceId.eq(*device))
                .and(Column::TxnKey.eq(*key))
        };
        let any = wanted
            .iter()
            .fold(Condition::any(), |any, one| any.add(whole(one)));
        let rows = transaction_ids::Entity::find()
            .filter(any)
            .all(self.reader())
            .await?;
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            let id = OwnedEventId::try_from(row.event_id)
                .map_err(|_| StoreError::corrupt("transaction_ids", "event_id"))?;
            found.push(((row.user_id, row.device_id, row.txn_key), id));
        }
        Ok(found)
    }

    /// Events that the room's timeline refers to and that are not held: where its history goes on.
    ///
    /// # Errors
    /// As [`Store::room`].
    pub async fn missing_events(&self, room: &RoomId) -> Result<Vec<OwnedEventId>, StoreError> {
        let ids: Vec<String> = missing_events::Entity::find()
            .select_only()
            .column(missing_events::Column::EventId)
            .filter(missing_events::Column::RoomId.eq(room.as_str()))
            .into_tuple()
            .all(self.reader())
            .await?;
        parse_ids(ids)
    }

    /// Whether an accepted event of a room names an event that is not held.
    ///
    /// # Errors
    /// As [`Store::room`].
    pub async fn is_missing(&self, room: &RoomId, id: &EventId) -> Result<bool, StoreError> {
        let key = (room.as_str().to_owned(), id.as_str().to_owned());
        let row = missing_events::Entity::find_by_id(key);
        Ok(row.one(self.reader()).await?.is_some())
    }

    /// One member's row.
    ///
    /// # Errors
    /// As [`Store::room`].
    pub async fn membership(
        &self,
        room: &RoomId,
        user: &UserId,
    ) -> Result<Option<MembershipRow>, StoreError> {
        let key = (room.as_str().to_owned(), user.as_str().to_owned());
        let row = room_members::Entity::find_by_id(key)
            .one(self.reader())
            .await?;
        row.map(MembershipRow::try_from).transpose()
    }

    /// How a local user appears in rooms: display name and avatar.
    ///
    /// # Errors
    /// As [`Store::room`].
    pub async fn appearance_of(
        &self,
        user: &UserId,
    ) -> Result<(Option<String>, Option<String>), StoreError> {
        let rows = profiles::Entity::find()
            .filter(profiles::Column::UserId.eq(user.as_str()))
            .filter(profiles::Column::Field.is_in(["displayname", "avatar_url"]))
            .all(self.reader())
            .await?;
        let field = |name: &str| {
            let row = rows.iter().find(|row| row.field == name)?;
            serde_json::from_str::<String>(&row.value).ok()
        };
        Ok((field("displayname"), field("avatar_url")))
    }
}

/// Marks a room that a user has left as forgotten.
#[derive(Clone, Debug)]
pub struct ForgetRoom {
    /// The room.
    pub room: OwnedRoomId,
    /// The user.
    pub user: OwnedUserId,
}

impl Change for ForgetRoom {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        room_members::Entity::update_many()
            .col_expr(room_members::Column::Forgotten, Expr::value(true))
            .filter(room_members::Column::RoomId.eq(self.room.as_str()))
            .filter(room_members::Column::UserId.eq(self.user.as_str()))
            .filter(room_members::Column::Membership.ne(Membership::Join.as_str()))
            .exec(tx.connection())
            .await?;
        Ok(())
    }
}
