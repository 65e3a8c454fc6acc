//! Rows read in order: outgoing events, and what was received and not yet handled.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "queue_item")]
pub(super) struct Model {
    /// Which queue.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) kind: String,
    /// Its place in the queue.
    #[sea_orm(primary_key, auto_increment = false)]
    pub(super) id: i64,
    /// The item, encrypted.
    pub(super) value: Vec<u8>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(super) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
