//! Room keys in backups: ciphertext only.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "backup_keys")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// In which backup.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    /// Of which room.
    #[sea_orm(primary_key, auto_increment = false)]
    pub room_id: String,
    /// Of which Megolm session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub session_id: String,
    /// The first message that it decrypts.
    pub first_message_index: i64,
    /// How often it was forwarded.
    pub forwarded_count: i64,
    /// Whether the client had verified the device that it came from.
    pub is_verified: bool,
    /// The whole entry, as JSON.
    pub content: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
