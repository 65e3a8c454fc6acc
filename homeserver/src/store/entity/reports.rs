//! What users reported to the operator.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reports")]
pub struct Model {
    /// A random id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Who reports.
    pub reporter: String,
    /// The room concerned.
    pub room_id: Option<String>,
    /// The event concerned.
    pub event_id: Option<String>,
    /// The user concerned.
    pub user_id: Option<String>,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
