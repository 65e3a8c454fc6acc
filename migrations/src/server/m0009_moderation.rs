//! Reports, tokens for logging in, suspended accounts, and up to where pushers have been told.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

/// Pushers that are there already begin at the end of the log.
const BEGIN_AT_THE_END: &str =
    "UPDATE pushers SET position = (SELECT COALESCE(MAX(log.position), 0) FROM log)";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(reports()).await?;
        manager.create_table(login_tokens()).await?;
        let suspended = Table::alter()
            .table(Accounts::Table)
            .add_column(boolean(Accounts::Suspended).default(false))
            .to_owned();
        manager.alter_table(suspended).await?;
        let position = Table::alter()
            .table(Pushers::Table)
            .add_column(big_integer(Pushers::Position).default(0))
            .to_owned();
        manager.alter_table(position).await?;
        let connection = manager.get_connection();
        connection.execute_unprepared(BEGIN_AT_THE_END).await?;
        Ok(())
    }
}

fn reports() -> TableCreateStatement {
    Table::create()
        .table(Reports::Table)
        .col(string(Reports::Id).primary_key())
        .col(string(Reports::Reporter))
        .col(string_null(Reports::RoomId))
        .col(string_null(Reports::EventId))
        .col(string_null(Reports::UserId))
        .col(text(Reports::Reason))
        .col(big_integer(Reports::CreatedMs))
        .to_owned()
}

fn login_tokens() -> TableCreateStatement {
    Table::create()
        .table(LoginTokens::Table)
        .col(string(LoginTokens::TokenHash).primary_key())
        .col(string(LoginTokens::UserId))
        .col(big_integer(LoginTokens::ExpiresMs))
        .to_owned()
}

#[derive(DeriveIden)]
enum Reports {
    Table,
    Id,
    Reporter,
    RoomId,
    EventId,
    UserId,
    Reason,
    CreatedMs,
}

#[derive(DeriveIden)]
enum LoginTokens {
    Table,
    TokenHash,
    UserId,
    ExpiresMs,
}

#[derive(DeriveIden)]
enum Accounts {
    Table,
    Suspended,
}

#[derive(DeriveIden)]
enum Pushers {
    Table,
    Position,
}
