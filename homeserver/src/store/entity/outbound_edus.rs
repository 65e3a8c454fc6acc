//! What must be sent to one server and cannot be derived, each at its position in the log.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbound_edus")]
pub struct Model {
    /// Its position.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    /// To which server.
    pub destination: String,
    /// The EDU, as JSON.
    pub body: String,
    /// When it is dropped if it was not sent, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
