//! Other servers' signing keys, as they said themselves or a trusted notary did.

use sea_orm::entity::prelude::*;

/// One key of one server.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "server_keys")]
pub struct Model {
    /// Whose key it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub server_name: String,
    /// Algorithm and version, as in signatures.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    /// The public key, in base64.
    pub public_key: String,
    /// The last moment for which the key proves anything, in milliseconds since the epoch.
    pub valid_until_ts: i64,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
