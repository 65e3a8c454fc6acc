//! Indexes by which what is old, and whether any of ours is in a room, is found without reading whole tables.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn indexes() -> [IndexCreateStatement; 5] {
    [
        // Accounts that are over are few, and their rooms are looked for again and again.
        Index::create()
            .name("accounts_state")
            .table(Accounts::Table)
            .col(Accounts::State)
            .to_owned(),
        Index::create()
            .name("to_device_transactions_created")
            .table(ToDeviceTransactions::Table)
            .col(ToDeviceTransactions::CreatedMs)
            .to_owned(),
        Index::create()
            .name("openid_tokens_expires")
            .table(OpenidTokens::Table)
            .col(OpenidTokens::ExpiresMs)
            .to_owned(),
        Index::create()
            .name("room_members_local")
            .table(RoomMembers::Table)
            .col(RoomMembers::RoomId)
            .col(RoomMembers::IsLocal)
            .col(RoomMembers::Membership)
            .to_owned(),
        // A pusher that another user sets takes the place of this one.
        Index::create()
            .name("pushers_pushkey")
            .table(Pushers::Table)
            .col(Pushers::Pushkey)
            .to_owned(),
    ]
}

#[derive(DeriveIden)]
enum Accounts {
    Table,
    State,
}

#[derive(DeriveIden)]
enum ToDeviceTransactions {
    Table,
    CreatedMs,
}

#[derive(DeriveIden)]
enum OpenidTokens {
    Table,
    ExpiresMs,
}

#[derive(DeriveIden)]
enum RoomMembers {
    Table,
    RoomId,
    IsLocal,
    Membership,
}

#[derive(DeriveIden)]
enum Pushers {
    Table,
    Pushkey,
}
