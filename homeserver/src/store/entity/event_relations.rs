//! Which event relates to which (`m.relates_to`).

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event_relations")]
pub struct Model {
    /// The event that relates.
    #[sea_orm(primary_key, auto_increment = false)]
    pub child: String,
    /// The event that it relates to.
    pub parent: String,
    /// How.
    pub rel_type: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
