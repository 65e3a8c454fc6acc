//! What expiry must remember: the time that it has seen, and changed policies that are not applied yet.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [expiry_clock(), expiry_policy_changes()] {
            manager.create_table(table).await?;
        }
        Ok(())
    }
}

fn expiry_clock() -> TableCreateStatement {
    Table::create()
        .table(ExpiryClock::Table)
        .col(integer(ExpiryClock::Id).primary_key())
        .col(big_integer(ExpiryClock::HighWaterMs))
        .to_owned()
}

fn expiry_policy_changes() -> TableCreateStatement {
    Table::create()
        .table(ExpiryPolicyChanges::Table)
        .col(string(ExpiryPolicyChanges::RoomId).primary_key())
        .col(big_integer(ExpiryPolicyChanges::ChangedMs))
        .col(big_integer(ExpiryPolicyChanges::Through))
        .to_owned()
}

#[derive(DeriveIden)]
enum ExpiryClock {
    Table,
    Id,
    HighWaterMs,
}

#[derive(DeriveIden)]
enum ExpiryPolicyChanges {
    Table,
    RoomId,
    ChangedMs,
    Through,
}
