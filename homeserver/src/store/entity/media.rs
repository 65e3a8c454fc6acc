//! Uploaded media, and ids reserved for uploads to come.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "media")]
pub struct Model {
    /// The local part of its MXC URI.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Who uploaded it.
    pub uploader: String,
    /// What the client says it is.
    pub content_type: Option<String>,
    /// What the client calls it.
    pub filename: Option<String>,
    /// Bytes; none while it is not uploaded.
    pub size: Option<i64>,
    /// SHA-256 of the bytes, in unpadded base64.
    pub sha256: Option<String>,
    /// When the id was given, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// Until when it must be uploaded, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

/// No relations: rows are found by key.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
