//! Redactions that are owed to servers which do not destroy what expires: of events of ours that were destroyed.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(ExpiryRedactions::Table)
            .col(string(ExpiryRedactions::EventId).primary_key())
            .col(string(ExpiryRedactions::RoomId))
            .col(string(ExpiryRedactions::Sender))
            .to_owned();
        manager.create_table(table).await
    }
}

#[derive(DeriveIden)]
enum ExpiryRedactions {
    Table,
    EventId,
    RoomId,
    Sender,
}
