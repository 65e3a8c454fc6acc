//! A state of a room: a difference to an earlier one.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "state_groups")]
pub struct Model {
    /// Its number: random, so that replicas need not agree on it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// Its room.
    pub room_id: String,
    /// How many changes led here from the empty state.
    pub ordinal: i64,
    /// The groups whose deltas lie below this one, nearest first: a JSON list of ids, at most 63.
    pub path: String,
    /// JSON: a list of `[type, state_key, event id or null]`.
    pub delta: Vec<u8>,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
