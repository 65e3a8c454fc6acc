//! The current membership of a user in a room, out-of-room invites included.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "room_members")]
pub struct Model {
    /// The room.
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: String,
    /// The user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// `join`, `invite`, `leave`, `ban` or `knock`.
    pub membership: String,
    /// The event that says so.
    pub event_id: String,
    /// Its position in the log.
    pub position: i64,
    /// Whether the user is one of ours.
    pub is_local: bool,
    /// Whether the user has forgotten the room.
    pub forgotten: bool,
    /// For invites and knocks of rooms that we are not in: a JSON list of stripped state.
    pub stripped_state: Option<String>,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
