//! Other servers: their keys, what is owed to them, what came from them, and their users' devices.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            server_keys(),
            server_key_documents(),
            destinations(),
            destination_rooms(),
            inbound_transactions(),
            inbound_messages(),
            remote_device_lists(),
            remote_devices(),
        ] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn server_keys() -> TableCreateStatement {
    Table::create()
        .table(ServerKeys::Table)
        .col(string(ServerKeys::ServerName))
        .col(string(ServerKeys::KeyId))
        .col(string(ServerKeys::PublicKey))
        .col(big_integer(ServerKeys::ValidUntilTs))
        .primary_key(
            Index::create()
                .col(ServerKeys::ServerName)
                .col(ServerKeys::KeyId),
        )
        .to_owned()
}

fn server_key_documents() -> TableCreateStatement {
    Table::create()
        .table(ServerKeyDocuments::Table)
        .col(string(ServerKeyDocuments::ServerName).primary_key())
        .col(text(ServerKeyDocuments::Document))
        .col(big_integer(ServerKeyDocuments::ValidUntilTs))
        .col(big_integer(ServerKeyDocuments::FetchedTs))
        .to_owned()
}

fn destinations() -> TableCreateStatement {
    Table::create()
        .table(Destinations::Table)
        .col(string(Destinations::Destination).primary_key())
        .col(big_integer(Destinations::Cursor))
        .col(big_integer_null(Destinations::CatchUpThrough))
        .col(integer(Destinations::Failures))
        .col(big_integer_null(Destinations::FailingSinceTs))
        .col(big_integer(Destinations::RetryAtTs))
        .col(string_null(Destinations::InFlightId))
        .col(big_integer_null(Destinations::InFlightThrough))
        .col(text_null(Destinations::InFlight))
        .to_owned()
}

fn destination_rooms() -> TableCreateStatement {
    Table::create()
        .table(DestinationRooms::Table)
        .col(string(DestinationRooms::Destination))
        .col(string(DestinationRooms::RoomId))
        .col(big_integer(DestinationRooms::JoinedFrom))
        .col(big_integer_null(DestinationRooms::LeftAt))
        .primary_key(
            Index::create()
                .col(DestinationRooms::Destination)
                .col(DestinationRooms::RoomId),
        )
        .to_owned()
}

fn inbound_transactions() -> TableCreateStatement {
    Table::create()
        .table(InboundTransactions::Table)
        .col(string(InboundTransactions::Origin))
        .col(string(InboundTransactions::TransactionId))
        .col(big_integer(InboundTransactions::ReceivedTs))
        .col(text(InboundTransactions::Response))
        .primary_key(
            Index::create()
                .col(InboundTransactions::Origin)
                .col(InboundTransactions::TransactionId),
        )
        .to_owned()
}

fn inbound_messages() -> TableCreateStatement {
    Table::create()
        .table(InboundMessages::Table)
        .col(string(InboundMessages::Sender))
        .col(string(InboundMessages::MessageId))
        .col(big_integer(InboundMessages::ReceivedTs))
        .primary_key(
            Index::create()
                .col(InboundMessages::Sender)
                .col(InboundMessages::MessageId),
        )
        .to_owned()
}

fn remote_device_lists() -> TableCreateStatement {
    Table::create()
        .table(RemoteDeviceLists::Table)
        .col(string(RemoteDeviceLists::UserId).primary_key())
        .col(big_integer(RemoteDeviceLists::StreamId))
        .col(boolean(RemoteDeviceLists::Stale))
        .col(text_null(RemoteDeviceLists::MasterKey))
        .col(text_null(RemoteDeviceLists::SelfSigningKey))
        .to_owned()
}

fn remote_devices() -> TableCreateStatement {
    Table::create()
        .table(RemoteDevices::Table)
        .col(string(RemoteDevices::UserId))
        .col(string(RemoteDevices::DeviceId))
        .col(text_null(RemoteDevices::DisplayName))
        .col(text_null(RemoteDevices::Keys))
        .primary_key(
            Index::create()
                .col(RemoteDevices::UserId)
                .col(RemoteDevices::DeviceId),
        )
        .to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        Index::create()
            .name("destination_rooms_room")
            .table(DestinationRooms::Table)
            .col(DestinationRooms::RoomId)
            .to_owned(),
        Index::create()
            .name("inbound_transactions_received")
            .table(InboundTransactions::Table)
            .col(InboundTransactions::ReceivedTs)
            .to_owned(),
        Index::create()
            .name("inbound_messages_received")
            .table(InboundMessages::Table)
            .col(InboundMessages::ReceivedTs)
            .to_owned(),
    ]
}

#[derive(DeriveIden)]
enum ServerKeys {
    Table,
    ServerName,
    KeyId,
    PublicKey,
    ValidUntilTs,
}

#[derive(DeriveIden)]
enum ServerKeyDocuments {
    Table,
    ServerName,
    Document,
    ValidUntilTs,
    FetchedTs,
}

#[derive(DeriveIden)]
enum Destinations {
    Table,
    Destination,
    Cursor,
    CatchUpThrough,
    Failures,
    FailingSinceTs,
    RetryAtTs,
    InFlightId,
    InFlightThrough,
    InFlight,
}

#[derive(DeriveIden)]
enum DestinationRooms {
    Table,
    Destination,
    RoomId,
    JoinedFrom,
    LeftAt,
}

#[derive(DeriveIden)]
enum InboundTransactions {
    Table,
    Origin,
    TransactionId,
    ReceivedTs,
    Response,
}

#[derive(DeriveIden)]
enum InboundMessages {
    Table,
    Sender,
    MessageId,
    ReceivedTs,
}

#[derive(DeriveIden)]
enum RemoteDeviceLists {
    Table,
    UserId,
    StreamId,
    Stale,
    MasterKey,
    SelfSigningKey,
}

#[derive(DeriveIden)]
enum RemoteDevices {
    Table,
    UserId,
    DeviceId,
    DisplayName,
    Keys,
}
