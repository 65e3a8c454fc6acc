//! Messages to devices that other servers brought, by their identifiers.

use sea_orm::entity::prelude::*;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inbound_messages")]
pub struct Model {
    /// The user who sent it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub sender: String,
    /// Its identifier, as the user's server gave it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: String,
    /// When, in ms since the epoch.
    pub received_ts: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
