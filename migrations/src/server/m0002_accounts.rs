//! People: accounts, devices, sessions, profiles, account data, filters, registration tokens.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [accounts(), devices(), sessions(), profiles()] {
            manager.create_table(table).await?;
        }
        for table in [
            account_data(),
            filters(),
            registration_tokens(),
            openid_tokens(),
        ] {
            manager.create_table(table).await?;
        }
        manager
            .create_index(
                Index::create()
                    .name("sessions_user_device")
                    .table(Sessions::Table)
                    .col(Sessions::UserId)
                    .col(Sessions::DeviceId)
                    .to_owned(),
            )
            .await
    }
}

fn accounts() -> TableCreateStatement {
    Table::create()
        .table(Accounts::Table)
        .col(string(Accounts::UserId).primary_key())
        .col(text_null(Accounts::PasswordHash))
        .col(small_integer(Accounts::State))
        .col(big_integer(Accounts::CreatedMs))
        .to_owned()
}

fn devices() -> TableCreateStatement {
    Table::create()
        .table(Devices::Table)
        .col(string(Devices::UserId))
        .col(string(Devices::DeviceId))
        .col(text_null(Devices::DisplayName))
        .col(big_integer(Devices::CreatedMs))
        .col(big_integer(Devices::SeenDay))
        .primary_key(Index::create().col(Devices::UserId).col(Devices::DeviceId))
        .to_owned()
}

fn sessions() -> TableCreateStatement {
    Table::create()
        .table(Sessions::Table)
        .col(string(Sessions::Id).primary_key())
        .col(string(Sessions::UserId))
        .col(string(Sessions::DeviceId))
        .col(boolean(Sessions::Refreshable))
        .col(big_integer(Sessions::Step))
        .col(string(Sessions::Attempt))
        .col(string_null(Sessions::PendingAttempt))
        .col(big_integer(Sessions::CreatedMs))
        .to_owned()
}

fn profiles() -> TableCreateStatement {
    Table::create()
        .table(Profiles::Table)
        .col(string(Profiles::UserId))
        .col(string(Profiles::Field))
        .col(text(Profiles::Value))
        .primary_key(Index::create().col(Profiles::UserId).col(Profiles::Field))
        .to_owned()
}

fn account_data() -> TableCreateStatement {
    Table::create()
        .table(AccountData::Table)
        .col(string(AccountData::UserId))
        .col(string(AccountData::RoomId))
        .col(string(AccountData::EventType))
        .col(text(AccountData::Content))
        .primary_key(
            Index::create()
                .col(AccountData::UserId)
                .col(AccountData::RoomId)
                .col(AccountData::EventType),
        )
        .to_owned()
}

fn filters() -> TableCreateStatement {
    Table::create()
        .table(Filters::Table)
        .col(string(Filters::UserId))
        .col(string(Filters::FilterId))
        .col(text(Filters::Definition))
        .primary_key(Index::create().col(Filters::UserId).col(Filters::FilterId))
        .to_owned()
}

fn registration_tokens() -> TableCreateStatement {
    Table::create()
        .table(RegistrationTokens::Table)
        .col(string(RegistrationTokens::Token).primary_key())
        .col(big_integer_null(RegistrationTokens::UsesMax))
        .col(big_integer(RegistrationTokens::Uses))
        .col(big_integer_null(RegistrationTokens::ExpiresMs))
        .col(big_integer(RegistrationTokens::CreatedMs))
        .to_owned()
}

fn openid_tokens() -> TableCreateStatement {
    Table::create()
        .table(OpenidTokens::Table)
        .col(string(OpenidTokens::TokenHash).primary_key())
        .col(string(OpenidTokens::UserId))
        .col(big_integer(OpenidTokens::ExpiresMs))
        .to_owned()
}

#[derive(DeriveIden)]
enum Accounts {
    Table,
    UserId,
    PasswordHash,
    State,
    CreatedMs,
}

#[derive(DeriveIden)]
enum Devices {
    Table,
    UserId,
    DeviceId,
    DisplayName,
    CreatedMs,
    SeenDay,
}

#[derive(DeriveIden)]
enum Sessions {
    Table,
    Id,
    UserId,
    DeviceId,
    Refreshable,
    Step,
    Attempt,
    PendingAttempt,
    CreatedMs,
}

#[derive(DeriveIden)]
enum Profiles {
    Table,
    UserId,
    Field,
    Value,
}

#[derive(DeriveIden)]
enum AccountData {
    Table,
    UserId,
    RoomId,
    EventType,
    Content,
}

#[derive(DeriveIden)]
enum Filters {
    Table,
    UserId,
    FilterId,
    Definition,
}

#[derive(DeriveIden)]
enum RegistrationTokens {
    Table,
    Token,
    UsesMax,
    Uses,
    ExpiresMs,
    CreatedMs,
}

#[derive(DeriveIden)]
enum OpenidTokens {
    Table,
    TokenHash,
    UserId,
    ExpiresMs,
}
