//! The store's two shapes of row: entries found by a name, and items of a queue in their order.
//!
//! Both hold nothing readable: names are keyed hashes, values are encrypted. A row tells its kind and its length.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Entry::Table)
                    .col(string(Entry::Kind))
                    .col(binary(Entry::Name))
                    .col(binary(Entry::Value))
                    .primary_key(Index::create().col(Entry::Kind).col(Entry::Name))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(QueueItem::Table)
                    .col(string(QueueItem::Kind))
                    .col(big_integer(QueueItem::Id))
                    .col(binary(QueueItem::Value))
                    .primary_key(Index::create().col(QueueItem::Kind).col(QueueItem::Id))
                    .to_owned(),
            )
            .await
    }
}

#[derive(DeriveIden)]
enum Entry {
    Table,
    Kind,
    Name,
    Value,
}

#[derive(DeriveIden)]
enum QueueItem {
    Table,
    Kind,
    Id,
    Value,
}
