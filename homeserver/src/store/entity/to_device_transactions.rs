//! Which send-to-device requests were carried out, so that a repeat does nothing.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "to_device_transactions")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// Which device.
    #[sea_orm(primary_key, auto_increment = false)]
    pub device_id: String,
    /// The type of the messages.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_type: String,
    /// The transaction id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub txn_id: String,
    /// When, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
