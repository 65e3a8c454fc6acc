//! Signatures that local users made over others' master keys: only the signer sees them.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "key_signatures")]
pub struct Model {
    /// Who signed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub signer: String,
    /// Whose key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub target_user: String,
    /// The public key that was signed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub target_key: String,
    /// With which key.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_id: String,
    /// The signature, in unpadded base64.
    pub signature: String,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
