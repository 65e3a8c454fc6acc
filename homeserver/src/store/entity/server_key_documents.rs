//! What other servers published of their keys last, whole and signed, so that it can be passed on.

use sea_orm::entity::prelude::*;

/// One server's document.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "server_key_documents")]
pub struct Model {
    /// Whose document it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub server_name: String,
    /// The JSON with its signatures.
    pub document: String,
    /// Until when the server says that it holds, in milliseconds since the epoch.
    pub valid_until_ts: i64,
    /// When it was fetched, in milliseconds since the epoch.
    pub fetched_ts: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
