//! Reading the log: by scope and position, never as a whole.

use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{Scope, Store, StoreError, entity::log};

/// What happened. The numbers are stored: they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum LogKind {
    /// An event of the timeline that peers already have. Scope: room; reference: event id.
    Event = 1,
    /// An event of the timeline that we must send to the room's servers: our users' events, and
    /// those that we accepted by `send_join`, `send_leave` or `send_knock`. Scope: room;
    /// reference: event id.
    OwedEvent = 2,
    /// State that became current, or stopped being so, without an event of the timeline (state
    /// resolution). Scope: room; reference: a JSON list of the `[type, state_key]` concerned.
    ResolvedState = 3,
    /// A receipt. Scope: room (public) or user (private); reference: see `store/receipts.rs`.
    Receipt = 4,
    /// A local user's own membership changed. Scope: user; reference: room id.
    Membership = 5,
    /// Account data of a user. Scope: user; reference: its type.
    AccountData = 6,
    /// Account data of a user in a room, tags among them. Scope: user; reference: room id, a
    /// space, type.
    RoomAccountData = 7,
    /// A user's devices or cross-signing keys changed. Scope: keys; reference: device id, or none
    /// for cross-signing keys.
    DeviceList = 8,
    /// A message to one device. Scope: device; reference: none. The message is a row at the same
    /// position, and only the newest of a commit is in the log as well.
    ToDevice = 9,
    /// Something to be sent to one server that no room accounts for. Scope: destination;
    /// reference: none (a row at the same position); or a room id, when the server has been joined
    /// to that room or has left it.
    ForDestination = 10,
    /// An event of the timeline has expired, and its content is destroyed. Scope: room; reference:
    /// event id.
    Expired = 11,
}

impl LogKind {
    /// The kind with this number, if this program knows it.
    pub fn from_number(number: i16) -> Option<Self> {
        Some(match number {
            1 => Self::Event,
            2 => Self::OwedEvent,
            3 => Self::ResolvedState,
            4 => Self::Receipt,
            5 => Self::Membership,
            6 => Self::AccountData,
            7 => Self::RoomAccountData,
            8 => Self::DeviceList,
            9 => Self::ToDevice,
            10 => Self::ForDestination,
            11 => Self::Expired,
            _ => return None,
        })
    }

    /// Whether it is an event of a room's timeline.
    pub fn is_event(self) -> bool {
        matches!(self, Self::Event | Self::OwedEvent)
    }
}

/// One change, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Its position.
    pub position: i64,
    /// Whom it concerns, in the text form of [`Scope`].
    pub scope: String,
    /// What happened.
    pub kind: LogKind,
    /// What it is about; the form depends on the kind.
    pub reference: Option<String>,
}

impl TryFrom<log::Model> for LogRow {
    type Error = StoreError;

    fn try_from(row: log::Model) -> Result<Self, StoreError> {
        let kind = LogKind::from_number(row.kind).ok_or(StoreError::corrupt("log", "kind"))?;
        Ok(Self {
            position: row.position,
            scope: row.scope,
            kind,
            reference: row.reference,
        })
    }
}

/// Which end of an interval of the log is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// Oldest first.
    Oldest,
    /// Newest first.
    Newest,
}

impl Store {
    /// The rows of one scope with `after < position <= upto`, at most `limit`, from one end.
    ///
    /// # Errors
    /// What the database says; [`StoreError::Corrupt`] for a kind that is not known.
    pub async fn log_of(
        &self,
        scope: Scope<'_>,
        after: i64,
        upto: i64,
        from: LogEnd,
        limit: u64,
    ) -> Result<Vec<LogRow>, StoreError> {
        let query = log::Entity::find()
            .filter(log::Column::Scope.eq(scope.to_string()))
            .filter(log::Column::Position.gt(after))
            .filter(log::Column::Position.lte(upto));
        let query = match from {
            LogEnd::Oldest => query.order_by_asc(log::Column::Position),
            LogEnd::Newest => query.order_by_desc(log::Column::Position),
        };
        let rows = query.limit(limit).all(self.reader()).await?;
        rows.into_iter().map(LogRow::try_from).collect()
    }

    /// The rows of several scopes with `after < position <= upto`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Store::log_of`].
    pub async fn log_of_many(
        &self,
        scopes: &[Scope<'_>],
        after: i64,
        upto: i64,
        limit: u64,
    ) -> Result<Vec<LogRow>, StoreError> {
        let rows = log::Entity::find()
            .filter(log::Column::Scope.is_in(scopes.iter().map(Scope::to_string)))
            .filter(log::Column::Position.gt(after))
            .filter(log::Column::Position.lte(upto))
            .order_by_asc(log::Column::Position)
            .limit(limit)
            .all(self.reader())
            .await?;
        rows.into_iter().map(LogRow::try_from).collect()
    }

    /// The rows of events of several scopes below a position, newest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Store::log_of`].
    pub async fn newest_events_of(
        &self,
        scopes: &[Scope<'_>],
        below: i64,
        limit: u64,
    ) -> Result<Vec<LogRow>, StoreError> {
        let rows = log::Entity::find()
            .filter(log::Column::Scope.is_in(scopes.iter().map(Scope::to_string)))
            .filter(log::Column::Position.lt(below))
            .filter(log::Column::Kind.is_in([LogKind::Event as i16, LogKind::OwedEvent as i16]))
            .order_by_desc(log::Column::Position)
            .limit(limit)
            .all(self.reader())
            .await?;
        rows.into_iter().map(LogRow::try_from).collect()
    }

    /// The newest position of a scope, from the cache or else from the database; 0 if it has none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn newest_of(&self, scope: Scope<'_>) -> Result<i64, StoreError> {
        let key = scope.to_string();
        if let Some(position) = self.heads().of(&key) {
            return Ok(position);
        }
        let mark = self.heads().mark();
        let found = match scope {
            Scope::Device(user, device) => self.newest_to_device(user, device).await?,
            _ => newest_in_log(self.reader(), &key).await?,
        };
        Ok(self.heads().learn(&key, found.unwrap_or(0), mark))
    }
}

/// The newest position of a scope as it is written, if it has any.
pub(super) async fn newest_in_log(
    connection: &impl ConnectionTrait,
    scope: &str,
) -> Result<Option<i64>, StoreError> {
    Ok(log::Entity::find()
        .select_only()
        .column(log::Column::Position)
        .filter(log::Column::Scope.eq(scope))
        .order_by_desc(log::Column::Position)
        .limit(1)
        .into_tuple()
        .one(connection)
        .await?)
}
