//! The rooms that this server publishes in its directory, and how events are found by their time.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(published_rooms()).await?;
        manager.create_index(events_by_time()).await
    }
}

fn published_rooms() -> TableCreateStatement {
    Table::create()
        .table(PublishedRooms::Table)
        .col(string(PublishedRooms::RoomId).primary_key())
        .to_owned()
}

fn events_by_time() -> IndexCreateStatement {
    Index::create()
        .name("events_room_time")
        .table(Events::Table)
        .col(Events::RoomId)
        .col(Events::OriginServerTs)
        .to_owned()
}

#[derive(DeriveIden)]
enum Events {
    Table,
    RoomId,
    OriginServerTs,
}

#[derive(DeriveIden)]
enum PublishedRooms {
    Table,
    RoomId,
}
