//! OpenID tokens by which third parties verify who a user is.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "openid_tokens")]
pub struct Model {
    /// SHA-256 of the token, in unpadded base64.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: String,
    /// Whom it names.
    pub user_id: String,
    /// When it stops working, in milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
