//! One-time keys of local devices: each is given out once and deleted with it.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "one_time_keys")]
pub struct Model {
    /// Grows with each key, so that the oldest is given out first.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i64,
    /// Whose.
    pub user_id: String,
    /// Which device.
    pub device_id: String,
    /// Algorithm and name.
    pub key_id: String,
    /// The algorithm.
    pub algorithm: String,
    /// The key, as JSON.
    pub content: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
