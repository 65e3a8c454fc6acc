//! The time up to which messages have expired: one row, which survives a clock that is set back.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "expiry_clock")]
pub struct Model {
    /// Always 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    /// The greatest time by which content was destroyed, in ms since the epoch.
    pub high_water_ms: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
