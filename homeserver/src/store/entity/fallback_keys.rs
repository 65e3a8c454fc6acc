//! Keys given out when one-time keys have run out, one an algorithm.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "fallback_keys")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// Which device.
    #[sea_orm(primary_key, auto_increment = false)]
    pub device_id: String,
    /// The algorithm.
    #[sea_orm(primary_key, auto_increment = false)]
    pub algorithm: String,
    /// Algorithm and name.
    pub key_id: String,
    /// The key, as JSON.
    pub content: String,
    /// Whether it has been given out.
    pub used: bool,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
