//! One room, as last committed.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rooms")]
pub struct Model {
    /// Its id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: String,
    /// Its room version.
    pub version: String,
    /// Moves with every accepted event; what a chain of sends is checked against.
    pub tip: i64,
    /// Moves only when the resolved current state changes.
    pub state_revision: i64,
    /// The current state: a row of `state_groups`.
    pub state_group: i64,
    /// The forward extremities: a JSON list of event ids.
    pub extremities: String,
    /// The greatest depth among the extremities.
    pub depth: i64,
    /// The room order of the oldest event of the timeline.
    pub order_min: i64,
    /// The room order of the newest event of the timeline.
    pub order_max: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
