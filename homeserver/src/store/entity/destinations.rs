//! Other servers, as far as something is or was owed to them.

use sea_orm::entity::prelude::*;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "destinations")]
pub struct Model {
    /// Its name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub destination: String,
    /// Positions up to this one are settled.
    pub cursor: i64,
    /// While catching up: up to where only the newest event of each room is sent.
    pub catch_up_through: Option<i64>,
    /// How often in a row sending failed.
    pub failures: i32,
    /// When the first of these failures was, in ms since the epoch.
    pub failing_since_ts: Option<i64>,
    /// Not to be tried again before, in ms since the epoch.
    pub retry_at_ts: i64,
    /// The transaction in flight: its identifier.
    pub in_flight_id: Option<String>,
    /// What it settles.
    pub in_flight_through: Option<i64>,
    /// Its items, as JSON.
    pub in_flight: Option<String>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
