//! Messages to local devices that wait for a sync, each at its position in the log.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "to_device")]
pub struct Model {
    /// Its position.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    /// Whose.
    pub user_id: String,
    /// Which device.
    pub device_id: String,
    /// The event, as JSON.
    pub content: String,
    /// When it is dropped if nobody has fetched it, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
