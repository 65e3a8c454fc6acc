//! The log: every durable change that a client or a peer can see, at one position.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(Log::Table)
                    .col(big_integer(Log::Position).primary_key())
                    .col(text(Log::Scope))
                    .col(small_integer(Log::Kind))
                    .col(text_null(Log::Reference))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("log_scope_position")
                    .table(Log::Table)
                    .col(Log::Scope)
                    .col(Log::Position)
                    .to_owned(),
            )
            .await
    }
}

#[derive(DeriveIden)]
enum Log {
    Table,
    Position,
    Scope,
    Kind,
    Reference,
}
