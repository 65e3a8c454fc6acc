//! Transactions of other servers that were taken, with their answers.

use sea_orm::entity::prelude::*;

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inbound_transactions")]
pub struct Model {
    /// Who sent it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub origin: String,
    /// Its identifier.
    #[sea_orm(primary_key, auto_increment = false)]
    pub transaction_id: String,
    /// When, in ms since the epoch.
    pub received_ts: i64,
    /// The body of the answer.
    pub response: String,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
