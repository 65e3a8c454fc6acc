//! Which event a client's transaction made, so that a repeat makes no other.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "transaction_ids")]
pub struct Model {
    /// The user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// The device.
    #[sea_orm(primary_key, auto_increment = false)]
    pub device_id: String,
    /// Room, type and transaction id, or their hash.
    #[sea_orm(primary_key, auto_increment = false)]
    pub txn_key: String,
    /// The event.
    pub event_id: String,
    /// When, in ms since the epoch.
    pub created_ts: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
