//! Rooms, their events and their state (`ARCHITECTURE.md`, "Seven ideas": 1, 3 and 7).

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [
            rooms(),
            events(),
            event_bodies(),
            event_relations(),
            state_groups(),
            room_members(),
            transaction_ids(),
            aliases(),
            receipts(),
            missing_events(),
        ] {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn rooms() -> TableCreateStatement {
    Table::create()
        .table(Rooms::Table)
        .col(string(Rooms::RoomId).primary_key())
        .col(string(Rooms::Version))
        .col(big_integer(Rooms::Tip))
        .col(big_integer(Rooms::StateRevision))
        .col(big_integer(Rooms::StateGroup))
        .col(text(Rooms::Extremities))
        .col(big_integer(Rooms::Depth))
        .col(big_integer(Rooms::OrderMin))
        .col(big_integer(Rooms::OrderMax))
        .to_owned()
}

fn events() -> TableCreateStatement {
    Table::create()
        .table(Events::Table)
        .col(string(Events::EventId).primary_key())
        .col(string(Events::RoomId))
        .col(string(Events::Sender))
        .col(string(Events::Kind))
        .col(text_null(Events::StateKey))
        .col(big_integer(Events::OriginServerTs))
        .col(big_integer(Events::ReceivedTs))
        .col(big_integer(Events::Depth))
        .col(big_integer_null(Events::RoomOrder))
        .col(big_integer_null(Events::Position))
        .col(big_integer_null(Events::StateBefore))
        .col(big_integer_null(Events::StateAfter))
        .col(small_integer(Events::Status))
        .col(blob(Events::Skeleton))
        .col(integer_null(Events::ContentAt))
        .col(integer_null(Events::ContentLen))
        .col(string_null(Events::RedactedBy))
        .col(big_integer_null(Events::Deadline))
        .col(big_integer_null(Events::DestroyAt))
        .col(big_integer_null(Events::ExpiryClass))
        .to_owned()
}

fn event_bodies() -> TableCreateStatement {
    Table::create()
        .table(EventBodies::Table)
        .col(string(EventBodies::EventId).primary_key())
        .col(blob(EventBodies::Body))
        .to_owned()
}

fn event_relations() -> TableCreateStatement {
    Table::create()
        .table(EventRelations::Table)
        .col(string(EventRelations::Child).primary_key())
        .col(string(EventRelations::Parent))
        .col(string(EventRelations::RelType))
        .to_owned()
}

fn state_groups() -> TableCreateStatement {
    Table::create()
        .table(StateGroups::Table)
        .col(big_integer(StateGroups::Id).primary_key())
        .col(string(StateGroups::RoomId))
        .col(big_integer(StateGroups::Ordinal))
        .col(text(StateGroups::Path))
        .col(blob(StateGroups::Delta))
        .to_owned()
}

fn room_members() -> TableCreateStatement {
    Table::create()
        .table(RoomMembers::Table)
        .col(string(RoomMembers::RoomId))
        .col(string(RoomMembers::UserId))
        .col(string(RoomMembers::Membership))
        .col(string(RoomMembers::EventId))
        .col(big_integer(RoomMembers::Position))
        .col(boolean(RoomMembers::IsLocal))
        .col(boolean(RoomMembers::Forgotten))
        .col(text_null(RoomMembers::StrippedState))
        .primary_key(
            Index::create()
                .col(RoomMembers::RoomId)
                .col(RoomMembers::UserId),
        )
        .to_owned()
}

fn transaction_ids() -> TableCreateStatement {
    Table::create()
        .table(TransactionIds::Table)
        .col(string(TransactionIds::UserId))
        .col(string(TransactionIds::DeviceId))
        .col(string(TransactionIds::TxnKey))
        .col(string(TransactionIds::EventId))
        .col(big_integer(TransactionIds::CreatedTs))
        .primary_key(
            Index::create()
                .col(TransactionIds::UserId)
                .col(TransactionIds::DeviceId)
                .col(TransactionIds::TxnKey),
        )
        .to_owned()
}

fn aliases() -> TableCreateStatement {
    Table::create()
        .table(Aliases::Table)
        .col(string(Aliases::Alias).primary_key())
        .col(string(Aliases::RoomId))
        .col(string(Aliases::Creator))
        .to_owned()
}

fn receipts() -> TableCreateStatement {
    Table::create()
        .table(Receipts::Table)
        .col(string(Receipts::RoomId))
        .col(string(Receipts::UserId))
        .col(string(Receipts::ReceiptType))
        .col(string(Receipts::Thread))
        .col(string(Receipts::EventId))
        .col(big_integer(Receipts::RoomOrder))
        .col(big_integer(Receipts::Ts))
        .col(big_integer(Receipts::Position))
        .primary_key(
            Index::create()
                .col(Receipts::RoomId)
                .col(Receipts::UserId)
                .col(Receipts::ReceiptType)
                .col(Receipts::Thread),
        )
        .to_owned()
}

fn missing_events() -> TableCreateStatement {
    Table::create()
        .table(MissingEvents::Table)
        .col(string(MissingEvents::RoomId))
        .col(string(MissingEvents::EventId))
        .primary_key(
            Index::create()
                .col(MissingEvents::RoomId)
                .col(MissingEvents::EventId),
        )
        .to_owned()
}

fn index<T: Iden + 'static>(
    name: &str,
    table: T,
    columns: impl IntoIterator<Item = T>,
) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(column);
    }
    index.to_owned()
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        index(
            "events_room_order",
            Events::Table,
            // The id goes along, so that a page of a timeline is read from the index alone.
            [Events::RoomId, Events::RoomOrder, Events::EventId],
        ),
        index("events_destroy_at", Events::Table, [Events::DestroyAt]),
        index(
            "event_relations_parent",
            EventRelations::Table,
            [EventRelations::Parent],
        ),
        index(
            "room_members_user",
            RoomMembers::Table,
            [RoomMembers::UserId],
        ),
        index("aliases_room", Aliases::Table, [Aliases::RoomId]),
        index(
            "receipts_room_position",
            Receipts::Table,
            [Receipts::RoomId, Receipts::Position],
        ),
        index(
            "transaction_ids_event",
            TransactionIds::Table,
            [TransactionIds::EventId],
        ),
        index(
            "transaction_ids_created",
            TransactionIds::Table,
            [TransactionIds::CreatedTs],
        ),
    ]
}

#[derive(DeriveIden)]
enum Rooms {
    Table,
    RoomId,
    Version,
    Tip,
    StateRevision,
    StateGroup,
    Extremities,
    Depth,
    OrderMin,
    OrderMax,
}

#[derive(DeriveIden)]
enum Events {
    Table,
    EventId,
    RoomId,
    Sender,
    Kind,
    StateKey,
    OriginServerTs,
    ReceivedTs,
    Depth,
    RoomOrder,
    Position,
    StateBefore,
    StateAfter,
    Status,
    Skeleton,
    ContentAt,
    ContentLen,
    RedactedBy,
    Deadline,
    DestroyAt,
    ExpiryClass,
}

#[derive(DeriveIden)]
enum EventBodies {
    Table,
    EventId,
    Body,
}

#[derive(DeriveIden)]
enum EventRelations {
    Table,
    Child,
    Parent,
    RelType,
}

#[derive(DeriveIden)]
enum StateGroups {
    Table,
    Id,
    RoomId,
    Ordinal,
    Path,
    Delta,
}

#[derive(DeriveIden)]
enum RoomMembers {
    Table,
    RoomId,
    UserId,
    Membership,
    EventId,
    Position,
    IsLocal,
    Forgotten,
    StrippedState,
}

#[derive(DeriveIden)]
enum TransactionIds {
    Table,
    UserId,
    DeviceId,
    TxnKey,
    EventId,
    CreatedTs,
}

#[derive(DeriveIden)]
enum Aliases {
    Table,
    Alias,
    RoomId,
    Creator,
}

#[derive(DeriveIden)]
enum Receipts {
    Table,
    RoomId,
    UserId,
    ReceiptType,
    Thread,
    EventId,
    RoomOrder,
    Ts,
    Position,
}

#[derive(DeriveIden)]
enum MissingEvents {
    Table,
    RoomId,
    EventId,
}
