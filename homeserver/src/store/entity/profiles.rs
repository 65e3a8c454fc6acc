//! Profiles of local users, a field a row.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "profiles")]
pub struct Model {
    /// Whose profile.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// The key: `displayname`, `avatar_url`, or any other.
    #[sea_orm(primary_key, auto_increment = false)]
    pub field: String,
    /// Its value, as JSON.
    pub value: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
