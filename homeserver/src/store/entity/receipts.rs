//! The newest receipt of each kind of a user in a room.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "receipts")]
pub struct Model {
    /// The room.
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: String,
    /// The user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// `m.read` or `m.read.private`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub receipt_type: String,
    /// The thread; empty for none.
    #[sea_orm(primary_key, auto_increment = false)]
    pub thread: String,
    /// The event that was read.
    pub event_id: String,
    /// Where that event stands in the timeline.
    pub room_order: i64,
    /// When, in ms since the epoch.
    pub ts: i64,
    /// Its position in the log.
    pub position: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
