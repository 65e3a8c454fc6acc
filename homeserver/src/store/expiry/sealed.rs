//! What is sealed of that which expires: which key store has the keys, which keys die early, and what begins to be sealed.
//!
//! Invariant: keys are named here and destroyed by the writer, before the commit.
//!
//! No part of the specification.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QuerySelect, sea_query::Expr,
};

use super::{NewDeadline, ShortenDeadlines};
use crate::store::{
    Change, StoreError, Tx,
    connection::Connection,
    entity::{event_bodies, expiry_key_store},
    shred::{self, Kill, Seal, Shredder},
};

/// The key of the one row of `expiry_key_store`.
const KEY_STORE_ROW: i32 = 0;

/// Notes which key store this database's keys are in: at the first start with one, or, given none, when they are lost for ever.
#[derive(Clone, Debug)]
pub struct RecordKeyStore(pub Option<String>);

impl Change for RecordKeyStore {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        expiry_key_store::Entity::delete_by_id(KEY_STORE_ROW)
            .exec(tx.connection())
            .await?;
        if let Some(name) = &self.0 {
            let row = expiry_key_store::ActiveModel {
                id: Set(KEY_STORE_ROW),
                name: Set(name.clone()),
            };
            expiry_key_store::Entity::insert(row)
                .exec_without_returning(tx.connection())
                .await?;
        }
        Ok(())
    }
}

/// By which name this database knows its keys; none if nothing was ever sealed.
pub(in crate::store) async fn recorded_key_store(
    reader: &Connection,
) -> Result<Option<String>, StoreError> {
    let row = expiry_key_store::Entity::find_by_id(KEY_STORE_ROW)
        .one(reader)
        .await?;
    Ok(row.map(|row| row.name))
}

/// An event that is due: its id, when, its room, position and class.
pub(super) type Due = (String, Option<i64>, String, Option<i64>, Option<i64>);

/// The keys of those events whose bucket ends later than that of their deadline, which a policy moved.
pub(super) async fn early_kills(
    tx: &Tx,
    due: &[Due],
    now_ms: i64,
) -> Result<Vec<Kill>, StoreError> {
    if due.is_empty() {
        return Ok(Vec::new());
    }
    let ids = due.iter().map(|(id, ..)| id.as_str());
    let sealed: Vec<(String, Option<i64>)> = event_bodies::Entity::find()
        .select_only()
        .column(event_bodies::Column::EventId)
        .column(event_bodies::Column::SealedUntil)
        .filter(event_bodies::Column::EventId.is_in(ids))
        .filter(event_bodies::Column::SealedUntil.gt(now_ms))
        .into_tuple()
        .all(tx.connection())
        .await?;
    let sealed: HashMap<String, Option<i64>> = sealed.into_iter().collect();
    let mut rooms = HashMap::new();
    for (id, destroy_at, room, _, class_ms) in due {
        let (Some(Some(until_ms)), Some(destroy_at), Some(class_ms)) =
            (sealed.get(id), *destroy_at, *class_ms)
        else {
            continue;
        };
        let own = shred::slot(class_ms, destroy_at).ends_at_ms;
        if u64::try_from(*until_ms).is_ok_and(|until_ms| until_ms > own) {
            rooms.insert(id.as_str(), room.as_str());
        }
    }
    if rooms.is_empty() {
        return Ok(Vec::new());
    }
    let bodies = event_bodies::Entity::find()
        .filter(event_bodies::Column::EventId.is_in(rooms.keys().copied()))
        .all(tx.connection())
        .await?;
    let kill = |row: &event_bodies::Model| {
        Shredder::kill(rooms.get(row.event_id.as_str())?, &row.event_id, &row.body)
    };
    Ok(bodies.iter().filter_map(kill).collect())
}

/// Seals what begins to expire by a change: until now it was to stay.
pub(super) async fn seal(tx: &Tx, change: &ShortenDeadlines) -> Result<(), StoreError> {
    use event_bodies::Column;
    if change.deadlines.is_empty() {
        return Ok(());
    }
    let ids = change.deadlines.iter().map(|new| new.event_id.as_str());
    let plain = event_bodies::Entity::find()
        .filter(Column::EventId.is_in(ids))
        .filter(Column::SealedUntil.is_null())
        .all(tx.connection())
        .await?;
    let news: HashMap<&str, &NewDeadline> = change
        .deadlines
        .iter()
        .map(|new| (new.event_id.as_str(), new))
        .collect();
    let room = change.change.room_id.as_str();
    for row in plain {
        let Some(new) = news.get(row.event_id.as_str()) else {
            continue;
        };
        let slot = shred::slot(new.expiry_class, new.destroy_at);
        let sealed = tx.shredder().seal(slot, room, &row.event_id, &row.body)?;
        let Seal::Sealed { bytes, until_ms } = sealed else {
            continue;
        };
        event_bodies::Entity::update_many()
            .col_expr(Column::Body, Expr::value(bytes))
            .col_expr(Column::SealedUntil, Expr::value(until_ms))
            .filter(Column::EventId.eq(row.event_id))
            .exec(tx.connection())
            .await?;
    }
    Ok(())
}
