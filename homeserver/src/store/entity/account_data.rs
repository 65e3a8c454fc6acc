//! What clients keep at the server for a user, globally or for a room.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account_data")]
pub struct Model {
    /// Whose data.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// The room, or empty for global data.
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: String,
    /// Its type.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_type: String,
    /// Its content, as JSON.
    pub content: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
