//! Logins: what an access token must refer to (`design.md`, "Identity and tokens").

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    /// Random; named in every token of the session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Who logged in.
    pub user_id: String,
    /// With which device.
    pub device_id: String,
    /// Whether its access tokens expire and are refreshed.
    pub refreshable: bool,
    /// How many times its tokens were replaced by ones that were then used.
    pub step: i64,
    /// Which of the pairs issued for `step` was used.
    pub attempt: String,
    /// The pair issued for `step + 1` that has not been used yet.
    pub pending_attempt: Option<String>,
    /// When it began, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
