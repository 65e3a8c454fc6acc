//! Filters that clients have stored.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "filters")]
pub struct Model {
    /// Whose filter.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// Derived from the definition, so that storing it again gives the same.
    #[sea_orm(primary_key, auto_increment = false)]
    pub filter_id: String,
    /// The filter, as JSON.
    pub definition: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
