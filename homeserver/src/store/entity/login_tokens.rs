//! Tokens by which a session lets another device log in.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "login_tokens")]
pub struct Model {
    /// SHA-256 of the token, in unpadded base64.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: String,
    /// Whom it logs in.
    pub user_id: String,
    /// When it stops working, in milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
