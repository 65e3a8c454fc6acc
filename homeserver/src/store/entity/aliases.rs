//! A local alias of a room.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "aliases")]
pub struct Model {
    /// The alias.
    #[sea_orm(primary_key, auto_increment = false)]
    pub alias: String,
    /// The room.
    pub room_id: String,
    /// Who made it.
    pub creator: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
