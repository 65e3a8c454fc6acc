//! What is known of media: the bytes are files (`media/`).
//!
//! Invariant: an id is given once; a row with a size has its whole file on disk.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#content-repository>

use ruma::{OwnedUserId, UserId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect,
    sea_query::{Expr, ExprTrait, OnConflict},
};

use super::{Change, Store, StoreError, Tx, entity::media};

/// Media that were uploaded here, or an id reserved for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaRow {
    /// The local part of its MXC URI.
    pub id: String,
    /// Who uploaded it, or may.
    pub uploader: OwnedUserId,
    /// What the client says it is.
    pub content_type: Option<String>,
    /// What the client calls it.
    pub filename: Option<String>,
    /// Bytes; none while it is not uploaded.
    pub size: Option<i64>,
    /// Until when it must be uploaded, in milliseconds since the Unix epoch.
    pub expires_ms: Option<i64>,
}

/// What a user keeps here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaUsage {
    /// Bytes of all uploads.
    pub bytes: i64,
    /// Ids reserved and not yet used.
    pub pending: u64,
}

impl TryFrom<media::Model> for MediaRow {
    type Error = StoreError;

    fn try_from(row: media::Model) -> Result<Self, StoreError> {
        let uploader =
            UserId::parse(row.uploader).map_err(|_| StoreError::corrupt("media", "uploader"))?;
        Ok(Self {
            id: row.id,
            uploader,
            content_type: row.content_type,
            filename: row.filename,
            size: row.size,
            expires_ms: row.expires_ms,
        })
    }
}

impl Store {
    /// What is known of media that were uploaded here.
    ///
    /// # Errors
    /// What the database says.
    pub async fn media(&self, id: &str) -> Result<Option<MediaRow>, StoreError> {
        let row = media::Entity::find_by_id(id).one(self.reader()).await?;
        row.map(MediaRow::try_from).transpose()
    }

    /// What a user keeps here at `now_ms`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn media_usage(&self, user: &UserId, now_ms: i64) -> Result<MediaUsage, StoreError> {
        use media::Column;
        let of_user = || media::Entity::find().filter(Column::Uploader.eq(user.as_str()));
        let bytes: Option<Option<i64>> = of_user()
            .select_only()
            .column_as(Expr::col(Column::Size).sum().cast_as("BIGINT"), "bytes")
            .into_tuple()
            .one(self.reader())
            .await?;
        let pending = of_user()
            .filter(Column::Size.is_null())
            .filter(Column::ExpiresMs.gt(now_ms))
            .count(self.reader())
            .await?;
        Ok(MediaUsage {
            bytes: bytes.flatten().unwrap_or(0),
            pending,
        })
    }
}

/// Reserves an id.
#[derive(Clone, Debug)]
pub struct ReserveMedia {
    /// The id.
    pub id: String,
    /// Who may upload.
    pub uploader: OwnedUserId,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
    /// Until when, in milliseconds since the Unix epoch.
    pub expires_ms: i64,
}

impl Change for ReserveMedia {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let row = media::ActiveModel {
            id: Set(self.id.clone()),
            uploader: Set(self.uploader.to_string()),
            content_type: Set(None),
            filename: Set(None),
            size: Set(None),
            sha256: Set(None),
            created_ms: Set(self.now_ms),
            expires_ms: Set(Some(self.expires_ms)),
        };
        media::Entity::insert(row)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(())
    }
}

/// Notes media whose file is on disk: under a new id, or one that was reserved.
#[derive(Clone, Debug)]
pub struct KeepMedia {
    /// The id.
    pub id: String,
    /// Who uploaded it.
    pub uploader: OwnedUserId,
    /// What the client says it is.
    pub content_type: Option<String>,
    /// What the client calls it.
    pub filename: Option<String>,
    /// Bytes.
    pub size: i64,
    /// SHA-256 of the bytes, in unpadded base64.
    pub sha256: String,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

impl Change for KeepMedia {
    /// Whether it is kept: not if the id has its media already, or belongs to somebody else.
    type Output = bool;

    async fn apply(&self, tx: &mut Tx) -> Result<bool, StoreError> {
        use media::Column;
        let row = media::ActiveModel {
            id: Set(self.id.clone()),
            uploader: Set(self.uploader.to_string()),
            content_type: Set(self.content_type.clone()),
            filename: Set(self.filename.clone()),
            size: Set(Some(self.size)),
            sha256: Set(Some(self.sha256.clone())),
            created_ms: Set(self.now_ms),
            expires_ms: Set(None),
        };
        let inserted = media::Entity::insert(row)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(tx.connection())
            .await?;
        if inserted == 1 {
            return Ok(true);
        }
        let updated = media::Entity::update_many()
            .col_expr(Column::ContentType, Expr::value(self.content_type.clone()))
            .col_expr(Column::Filename, Expr::value(self.filename.clone()))
            .col_expr(Column::Size, Expr::value(self.size))
            .col_expr(Column::Sha256, Expr::value(self.sha256.as_str()))
            .col_expr(Column::ExpiresMs, Expr::value(None::<i64>))
            .filter(Column::Id.eq(self.id.as_str()))
            .filter(Column::Uploader.eq(self.uploader.as_str()))
            .filter(Column::Size.is_null())
            .exec(tx.connection())
            .await?;
        Ok(updated.rows_affected == 1)
    }
}
