//! Rows found by a name: the crypto machine's records, values, rooms, the account.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "entry")]
pub(super) struct Model {
    /// What it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) kind: String,
    /// A keyed hash of its name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) name: Vec<u8>,
    /// The name and the value, encrypted.
    pub(super) value: Vec<u8>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
