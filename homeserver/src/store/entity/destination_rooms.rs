//! In which rooms other servers are or were joined.

use sea_orm::entity::prelude::*;

/// One server in one room, the last time that it was joined.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "destination_rooms")]
pub struct Model {
    /// The server.
    #[sea_orm(primary_key, auto_increment = false)]
    pub destination: String,
    /// The room.
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: String,
    /// It is owed what has a greater position.
    pub joined_from: i64,
    /// It is owed nothing that has a greater position; none while it is joined.
    pub left_at: Option<i64>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
