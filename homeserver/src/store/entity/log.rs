//! Every durable change that a client or a peer can see, at one position (`design.md`, idea 1).

use sea_orm::entity::prelude::*;

/// One row of the log.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "log")]
pub struct Model {
    /// When clients learn of it. Given inside the commit, without gaps that are filled later.
    #[sea_orm(primary_key, auto_increment = false)]
    pub position: i64,
    /// Whom it concerns: a [`crate::store::Scope`] in its text form.
    pub scope: String,
    /// What happened: a [`crate::store::LogKind`].
    pub kind: i16,
    /// Which row of another table it is about; its form depends on `kind`.
    pub reference: Option<String>,
}

/// No relations: rows are found by (scope, position).
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
