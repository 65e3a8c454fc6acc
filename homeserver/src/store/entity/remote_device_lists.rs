//! Users of other servers whose devices are followed.

use sea_orm::entity::prelude::*;

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "remote_device_lists")]
pub struct Model {
    /// The user.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// The version of the list, as the user's server counts.
    pub stream_id: i64,
    /// Whether a change was missed, so that the list must be fetched anew.
    pub stale: bool,
    /// The master key, as JSON.
    pub master_key: Option<String>,
    /// The self-signing key, as JSON.
    pub self_signing_key: Option<String>,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
