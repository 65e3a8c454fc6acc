//! Local users and what proves who they are.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "accounts")]
pub struct Model {
    /// The full user id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// The Argon2id hash in PHC form; none if no password opens the account.
    pub password_hash: Option<String>,
    /// An [`crate::store::AccountState`].
    pub state: i16,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Whether the user may read, but say nothing.
    pub suspended: bool,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
