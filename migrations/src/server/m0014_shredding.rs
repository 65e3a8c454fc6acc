//! Content that is encrypted under a key that dies with it: when that is, and which key store has the keys.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(key_store()).await?;
        let sealed_until = Table::alter()
            .table(EventBodies::Table)
            .add_column(big_integer_null(EventBodies::SealedUntil))
            .to_owned();
        manager.alter_table(sealed_until).await
    }
}

fn key_store() -> TableCreateStatement {
    Table::create()
        .table(ExpiryKeyStore::Table)
        .col(integer(ExpiryKeyStore::Id).primary_key())
        .col(string(ExpiryKeyStore::Name))
        .to_owned()
}

#[derive(DeriveIden)]
enum ExpiryKeyStore {
    Table,
    Id,
    Name,
}

#[derive(DeriveIden)]
enum EventBodies {
    Table,
    SealedUntil,
}
