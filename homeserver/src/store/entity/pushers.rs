//! Where notifications of a user are pushed to.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "pushers")]
pub struct Model {
    /// Whose.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: String,
    /// The application.
    #[sea_orm(primary_key, auto_increment = false)]
    pub app_id: String,
    /// The device, as the application knows it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub pushkey: String,
    /// The device that set it.
    pub device_id: String,
    /// The pusher, as JSON.
    pub content: String,
    /// The position of the log up to which it has been told.
    pub position: i64,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
