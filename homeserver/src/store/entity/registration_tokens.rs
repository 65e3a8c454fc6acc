//! Tokens that let people register (`m.login.registration_token`).

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "registration_tokens")]
pub struct Model {
    /// The token itself.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token: String,
    /// How many accounts it may make; no limit if none.
    pub uses_max: Option<i64>,
    /// How many it has made.
    pub uses: i64,
    /// When it stops working, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
