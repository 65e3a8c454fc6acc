//! Destroyed events of our users of which other servers may have to be told by a redaction.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "expiry_redactions")]
pub struct Model {
    /// The event that was destroyed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: String,
    /// Its room.
    pub room_id: String,
    /// Who sent it: one of ours.
    pub sender: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
