//! Versions of room key backups.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_backups")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// Counts up for each user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    /// The algorithm.
    pub algorithm: String,
    /// What the algorithm needs, as JSON.
    pub auth_data: String,
    /// Counts up with each change of its keys.
    pub etag: i64,
    /// Whether it was deleted; its number is never used again.
    pub deleted: bool,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
