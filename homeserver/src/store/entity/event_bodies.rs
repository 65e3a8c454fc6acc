//! What redaction and expiry destroy of an event.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "event_bodies")]
pub struct Model {
    /// The event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub event_id: String,
    /// Its content, or the whole event, as canonical JSON; or that, encrypted.
    pub body: Vec<u8>,
    /// When the key dies under which it is encrypted, in ms since the epoch; none if it is not encrypted.
    pub sealed_until: Option<i64>,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
