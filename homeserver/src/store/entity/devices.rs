//! Devices of local users. What is kept of their use is one day, no address.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "devices")]
pub struct Model {
    /// Whose device.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// Its id, unique for the user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub device_id: String,
    /// What the user calls it.
    pub display_name: Option<String>,
    /// When it first logged in, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// The day on which it was last used, in days since the Unix epoch.
    pub seen_day: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
