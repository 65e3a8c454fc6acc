//! Expiry on disk: whose content is due, its destruction, the time that was seen, and policies
//! that changed.
//!
//! Invariant: a deadline only moves earlier, and a body that was destroyed never comes back:
//! `destroy_at` is cleared with it, `deadline` stays as its tombstone. Work is done in batches that
//! the caller bounds; each is one change, so that a crash leaves nothing half done.
//!
//! No part of the specification.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use passeur_protocol::expiry::{ExpiryClock, Reading};
use ruma::{OwnedEventId, OwnedRoomId, RoomId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict},
};
use tokio::sync::Notify;

use super::{
    Change, Event, LogKind, Scope, Store, StoreError, Tx,
    connection::Connection,
    entity::{event_bodies, event_relations, events, expiry_clock, expiry_policy_changes},
    events::parse_ids,
    shred::Kill,
};
use crate::clock::Clock;

mod meter;
mod owing;
mod sealed;

use self::sealed::Due;
pub(super) use self::sealed::recorded_key_store;
pub use self::{
    meter::ExpiryMeter,
    owing::{OwedRedaction, SettleRedactions},
    sealed::RecordKeyStore,
};

/// The key of the one row of `expiry_clock`.
const CLOCK_ROW: i32 = 0;

/// What the store keeps in memory for expiry.
pub(super) struct ExpiryState {
    /// Made at the first question, when a clock is at hand.
    clock: Mutex<Option<ExpiryClock>>,
    /// The time that was persisted when the store was opened.
    persisted_ms: u64,
    /// Rings when a room's policy changed.
    policies: Notify,
    /// Whether files may hold content that was deleted from the tables.
    has_residue: AtomicBool,
    /// What the operator watches.
    meter: Arc<ExpiryMeter>,
}

impl ExpiryState {
    /// Reads the time that was persisted. A process that died may have left residue.
    /// `destroyed_ms` is what the key store has seen.
    pub(super) async fn load(reader: &Connection, destroyed_ms: u64) -> Result<Self, StoreError> {
        let row = expiry_clock::Entity::find_by_id(CLOCK_ROW)
            .one(reader)
            .await?;
        let persisted_ms = row.map_or(0, |row| u64::try_from(row.high_water_ms).unwrap_or(0));
        // The database may be an old one, from a backup.
        let persisted_ms = persisted_ms.max(destroyed_ms);
        Ok(Self {
            clock: Mutex::new(None),
            persisted_ms,
            policies: Notify::new(),
            has_residue: AtomicBool::new(true),
            meter: Arc::default(),
        })
    }
}

/// What is overdue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many events still have a body that is due.
    pub events: u64,
    /// When the oldest of them was due, in ms since the epoch.
    pub oldest_ms: Option<i64>,
    /// Rooms whose messages have not followed a changed policy yet.
    pub rooms: u64,
}

/// A room whose policy changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// The room.
    pub room_id: OwnedRoomId,
    /// When it changed, in ms since the epoch.
    pub changed_ms: i64,
    /// The room order up to which messages have followed.
    pub through: i64,
}

impl Store {
    /// The two times of expiry, of a clock that may be wrong: see [`ExpiryClock`].
    pub fn expiry_time(&self, clock: &dyn Clock) -> Reading {
        let wall_ms = u64::try_from(clock.now_ms()).unwrap_or(0);
        let monotonic_ms = u64::try_from(clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let state = &self.expiry;
        let mut times = state.clock.lock().unwrap_or_else(PoisonError::into_inner);
        times
            .get_or_insert_with(|| ExpiryClock::new(state.persisted_ms, wall_ms, monotonic_ms))
            .read(wall_ms, monotonic_ms)
    }

    /// The time by which content is shown or hidden, in ms since the epoch. It never goes back,
    /// not over a restart either.
    pub fn showing_ms(&self, clock: &dyn Clock) -> i64 {
        to_i64(self.expiry_time(clock).hide_now_ms)
    }

    /// Notes that content was deleted whose bytes a file may still hold.
    pub fn note_residue(&self) {
        self.expiry.has_residue.store(true, Ordering::SeqCst);
    }

    /// Whether files may hold deleted content; the caller now sees to it.
    pub fn take_residue(&self) -> bool {
        self.expiry.has_residue.swap(false, Ordering::SeqCst)
    }

    /// What the purge has done.
    pub fn expiry_meter(&self) -> &Arc<ExpiryMeter> {
        &self.expiry.meter
    }

    /// Notes that a room's policy was changed.
    pub fn note_policy_changed(&self) {
        self.expiry.policies.notify_one();
    }

    /// Completes when a room's policy was changed since the last time.
    pub async fn policy_changed(&self) {
        self.expiry.policies.notified().await;
    }

    /// What is overdue at `now_ms`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn expiry_backlog(&self, now_ms: i64) -> Result<Backlog, StoreError> {
        let due = events::Entity::find().filter(events::Column::DestroyAt.lte(now_ms));
        let oldest_ms: Option<i64> = due
            .clone()
            .select_only()
            .column(events::Column::DestroyAt)
            .order_by_asc(events::Column::DestroyAt)
            .limit(1)
            .into_tuple()
            .one(self.reader())
            .await?;
        Ok(Backlog {
            events: due.count(self.reader()).await?,
            oldest_ms,
            rooms: expiry_policy_changes::Entity::find()
                .count(self.reader())
                .await?,
        })
    }

    /// Rooms whose messages have yet to follow a changed policy, the one that has waited longest first, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn policy_changes(&self, limit: u64) -> Result<Vec<PolicyChange>, StoreError> {
        let rows = expiry_policy_changes::Entity::find()
            .order_by_asc(expiry_policy_changes::Column::ChangedMs)
            .limit(limit)
            .all(self.reader())
            .await?;
        let change = |row: expiry_policy_changes::Model| {
            let room_id = OwnedRoomId::try_from(row.room_id)
                .map_err(|_| StoreError::corrupt("expiry_policy_changes", "room_id"))?;
            Ok(PolicyChange {
                room_id,
                changed_ms: row.changed_ms,
                through: row.through,
            })
        };
        rows.into_iter().map(change).collect()
    }

    /// The messages of a room's timeline above a room order that have not been destroyed, oldest
    /// first, at most `limit`.
    ///
    /// # Errors
    /// As [`Store::event`].
    pub async fn living_messages(
        &self,
        room: &RoomId,
        after: i64,
        limit: u64,
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let living = Condition::any()
            .add(events::Column::Deadline.is_null())
            .add(events::Column::DestroyAt.is_not_null());
        let ids: Vec<String> = events::Entity::find()
            .select_only()
            .column(events::Column::EventId)
            .filter(events::Column::RoomId.eq(room.as_str()))
            .filter(events::Column::RoomOrder.gt(after))
            .filter(events::Column::StateKey.is_null())
            .filter(living)
            .order_by_asc(events::Column::RoomOrder)
            .limit(limit)
            .into_tuple()
            .all(self.reader())
            .await?;
        self.events(&parse_ids(ids)?).await
    }
}

#[cfg(test)]
impl Store {
    /// A reader that has begun to read and does not end, as a long query is.
    pub(crate) async fn begin_reading(&self) -> super::connection::Transaction {
        let reader = self
            .reader()
            .begin_with_options(Default::default())
            .await
            .unwrap();
        events::Entity::find_by_id("").one(&reader).await.unwrap();
        reader
    }
}

/// Destroys the bodies that are due: at most `limit`, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct DestroyExpired {
    /// Now, in ms since the epoch: the time by which content is destroyed.
    pub now_ms: i64,
    /// How many at most.
    pub limit: u64,
}

/// What was destroyed.
#[derive(Clone, Debug, Default)]
pub struct Destroyed {
    /// The events, to be forgotten by caches.
    pub events: Vec<OwnedEventId>,
    /// When the oldest of them was due, in ms since the epoch.
    pub oldest_ms: Option<i64>,
}

impl Change for DestroyExpired {
    type Output = Destroyed;

    async fn apply(&self, tx: &mut Tx) -> Result<Destroyed, StoreError> {
        // Also where no event is due: media are under the same keys.
        tx.kill([Kill::Through(u64::try_from(self.now_ms).unwrap_or(0))]);
        let due: Vec<Due> = events::Entity::find()
            .select_only()
            .column(events::Column::EventId)
            .column(events::Column::DestroyAt)
            .column(events::Column::RoomId)
            .column(events::Column::Position)
            .column(events::Column::ExpiryClass)
            .filter(events::Column::DestroyAt.lte(self.now_ms))
            .order_by_asc(events::Column::DestroyAt)
            .limit(self.limit)
            .into_tuple()
            .all(tx.connection())
            .await?;
        let Some((_, oldest_ms, ..)) = due.first() else {
            return Ok(Destroyed::default());
        };
        let oldest_ms = *oldest_ms;
        let ids: Vec<&str> = due.iter().map(|(id, ..)| id.as_str()).collect();
        owing::owe(tx, &ids).await?;
        let early = sealed::early_kills(tx, &due, self.now_ms).await?;
        tx.kill(early);
        event_bodies::Entity::delete_many()
            .filter(event_bodies::Column::EventId.is_in(ids.iter().copied()))
            .exec(tx.connection())
            .await?;
        event_relations::Entity::delete_many()
            .filter(event_relations::Column::Child.is_in(ids.iter().copied()))
            .exec(tx.connection())
            .await?;
        events::Entity::update_many()
            .col_expr(events::Column::DestroyAt, Expr::value(None::<i64>))
            .filter(events::Column::EventId.is_in(ids))
            .exec(tx.connection())
            .await?;
        for (id, _, room, position, _) in &due {
            // Clients were told of it in a sync, and are to drop it.
            if position.is_some()
                && let Ok(room) = <&RoomId>::try_from(room.as_str())
            {
                tx.append(Scope::Room(room), LogKind::Expired, Some(id.clone()));
            }
        }
        Ok(Destroyed {
            events: parse_ids(due.into_iter().map(|(id, ..)| id).collect())?,
            oldest_ms,
        })
    }
}

/// Keeps the time by which content was destroyed, so that a clock that is set back before the next
/// start brings nothing back.
#[derive(Clone, Copy, Debug)]
pub struct SaveExpiryClock {
    /// The time, in ms since the epoch.
    pub high_water_ms: i64,
}

impl Change for SaveExpiryClock {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let later = expiry_clock::Entity::update_many()
            .col_expr(
                expiry_clock::Column::HighWaterMs,
                Expr::value(self.high_water_ms),
            )
            .filter(expiry_clock::Column::HighWaterMs.lt(self.high_water_ms))
            .exec(tx.connection())
            .await?;
        if later.rows_affected == 0 {
            // Either there is no row yet, or another replica has seen a later time.
            let row = expiry_clock::ActiveModel {
                id: Set(CLOCK_ROW),
                high_water_ms: Set(self.high_water_ms),
            };
            expiry_clock::Entity::insert(row)
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .exec_without_returning(tx.connection())
                .await?;
        }
        Ok(())
    }
}

/// An earlier deadline of one event. All times in ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDeadline {
    /// The event.
    pub event_id: OwnedEventId,
    /// From when it is hidden.
    pub deadline: i64,
    /// When its body is destroyed.
    pub destroy_at: i64,
    /// Its lifetime class.
    pub expiry_class: i64,
}

/// Moves deadlines of a room earlier, as a changed policy says.
#[derive(Clone, Debug)]
pub struct ShortenDeadlines {
    /// The change that is being followed, with the room order up to which this batch goes.
    pub change: PolicyChange,
    /// Whether this is the last batch.
    pub is_last: bool,
    /// The new deadlines.
    pub deadlines: Vec<NewDeadline>,
}

impl Change for ShortenDeadlines {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        for new in &self.deadlines {
            shorten(tx, new).await?;
        }
        sealed::seal(tx, self).await?;
        use expiry_policy_changes::Column;
        let (room, changed_ms) = (self.change.room_id.as_str(), self.change.changed_ms);
        // If the policy has changed again meanwhile, that change begins from the start.
        if self.is_last {
            expiry_policy_changes::Entity::delete_many()
                .filter(Column::RoomId.eq(room))
                .filter(Column::ChangedMs.eq(changed_ms))
                .exec(tx.connection())
                .await?;
        } else {
            expiry_policy_changes::Entity::update_many()
                .col_expr(Column::Through, Expr::value(self.change.through))
                .filter(Column::RoomId.eq(room))
                .filter(Column::ChangedMs.eq(changed_ms))
                .exec(tx.connection())
                .await?;
        }
        Ok(())
    }
}

async fn shorten(tx: &Tx, new: &NewDeadline) -> Result<(), StoreError> {
    let none_yet = events::Column::Deadline.is_null();
    let not_destroyed = Condition::all()
        .add(events::Column::DestroyAt.is_not_null())
        .add(events::Column::Deadline.gte(new.deadline))
        .add(events::Column::DestroyAt.gte(new.destroy_at));
    events::Entity::update_many()
        .col_expr(events::Column::Deadline, Expr::value(new.deadline))
        .col_expr(events::Column::DestroyAt, Expr::value(new.destroy_at))
        .col_expr(events::Column::ExpiryClass, Expr::value(new.expiry_class))
        .filter(events::Column::EventId.eq(new.event_id.as_str()))
        .filter(Condition::any().add(none_yet).add(not_destroyed))
        .exec(tx.connection())
        .await?;
    Ok(())
}

/// Notes inside an append that the room's messages have to follow a changed policy.
pub(super) async fn note_policy_change(
    tx: &Tx,
    room: &RoomId,
    changed_ms: i64,
) -> Result<(), StoreError> {
    use expiry_policy_changes::Column;
    let row = expiry_policy_changes::ActiveModel {
        room_id: Set(room.as_str().to_owned()),
        changed_ms: Set(changed_ms),
        through: Set(i64::MIN),
    };
    let again = OnConflict::column(Column::RoomId)
        .update_columns([Column::ChangedMs, Column::Through])
        .to_owned();
    expiry_policy_changes::Entity::insert(row)
        .on_conflict(again)
        .exec_without_returning(tx.connection())
        .await?;
    Ok(())
}

fn to_i64(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
