//! Cross-signing keys of local users, with the signatures that everybody may see.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "cross_signing_keys")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// A [`crate::store::KeyUsage`].
    #[sea_orm(primary_key, auto_increment = false)]
    pub usage: i16,
    /// The public key, in unpadded base64.
    pub public_key: String,
    /// The key object, as canonical JSON.
    pub content: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
