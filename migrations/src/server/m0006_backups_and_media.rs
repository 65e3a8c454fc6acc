//! Room key backups, pushers and media.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![key_backups(), backup_keys(), pushers(), media()]
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        Index::create()
            .name("media_uploader")
            .table(Media::Table)
            .col(Media::Uploader)
            .col(Media::CreatedMs)
            .to_owned(),
    ]
}

fn key_backups() -> TableCreateStatement {
    Table::create()
        .table(KeyBackups::Table)
        .col(string(KeyBackups::UserId))
        .col(big_integer(KeyBackups::Version))
        .col(string(KeyBackups::Algorithm))
        .col(text(KeyBackups::AuthData))
        .col(big_integer(KeyBackups::Etag))
        .col(boolean(KeyBackups::Deleted))
        .primary_key(
            Index::create()
                .col(KeyBackups::UserId)
                .col(KeyBackups::Version),
        )
        .to_owned()
}

fn backup_keys() -> TableCreateStatement {
    Table::create()
        .table(BackupKeys::Table)
        .col(string(BackupKeys::UserId))
        .col(big_integer(BackupKeys::Version))
        .col(string(BackupKeys::RoomId))
        .col(string(BackupKeys::SessionId))
        .col(big_integer(BackupKeys::FirstMessageIndex))
        .col(big_integer(BackupKeys::ForwardedCount))
        .col(boolean(BackupKeys::IsVerified))
        .col(text(BackupKeys::Content))
        .primary_key(
            Index::create()
                .col(BackupKeys::UserId)
                .col(BackupKeys::Version)
                .col(BackupKeys::RoomId)
                .col(BackupKeys::SessionId),
        )
        .to_owned()
}

fn pushers() -> TableCreateStatement {
    Table::create()
        .table(Pushers::Table)
        .col(string(Pushers::UserId))
        .col(string(Pushers::AppId))
        .col(string(Pushers::Pushkey))
        .col(string(Pushers::DeviceId))
        .col(text(Pushers::Content))
        .primary_key(
            Index::create()
                .col(Pushers::UserId)
                .col(Pushers::AppId)
                .col(Pushers::Pushkey),
        )
        .to_owned()
}

fn media() -> TableCreateStatement {
    Table::create()
        .table(Media::Table)
        .col(string(Media::Id).primary_key())
        .col(string(Media::Uploader))
        .col(string_null(Media::ContentType))
        .col(string_null(Media::Filename))
        .col(big_integer_null(Media::Size))
        .col(string_null(Media::Sha256))
        .col(big_integer(Media::CreatedMs))
        .col(big_integer_null(Media::ExpiresMs))
        .to_owned()
}

#[derive(DeriveIden)]
enum KeyBackups {
    Table,
    UserId,
    Version,
    Algorithm,
    AuthData,
    Etag,
    Deleted,
}

#[derive(DeriveIden)]
enum BackupKeys {
    Table,
    UserId,
    Version,
    RoomId,
    SessionId,
    FirstMessageIndex,
    ForwardedCount,
    IsVerified,
    Content,
}

#[derive(DeriveIden)]
enum Pushers {
    Table,
    UserId,
    AppId,
    Pushkey,
    DeviceId,
    Content,
}

#[derive(DeriveIden)]
enum Media {
    Table,
    Id,
    Uploader,
    ContentType,
    Filename,
    Size,
    Sha256,
    CreatedMs,
    ExpiresMs,
}
