//! Devices that wait for their user without a client: at most one each.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table(DehydratedDevices::Table)
            .col(string(DehydratedDevices::UserId).primary_key())
            .col(string(DehydratedDevices::DeviceId))
            .col(text(DehydratedDevices::Content))
            .to_owned();
        manager.create_table(table).await
    }
}

#[derive(DeriveIden)]
enum DehydratedDevices {
    Table,
    UserId,
    DeviceId,
    Content,
}
