//! Encryption: device keys, one-time keys, cross-signing, messages to devices and what is owed to single servers.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in tables() {
            manager.create_table(table).await?;
        }
        for index in indexes() {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        device_keys(),
        one_time_keys(),
        fallback_keys(),
        cross_signing_keys(),
        key_signatures(),
        to_device(),
        to_device_transactions(),
        outbound_edus(),
    ]
}

fn indexes() -> Vec<IndexCreateStatement> {
    vec![
        Index::create()
            .name("one_time_keys_name")
            .table(OneTimeKeys::Table)
            .col(OneTimeKeys::UserId)
            .col(OneTimeKeys::DeviceId)
            .col(OneTimeKeys::KeyId)
            .unique()
            .to_owned(),
        Index::create()
            .name("one_time_keys_next")
            .table(OneTimeKeys::Table)
            .col(OneTimeKeys::UserId)
            .col(OneTimeKeys::DeviceId)
            .col(OneTimeKeys::Algorithm)
            .col(OneTimeKeys::Id)
            .to_owned(),
        Index::create()
            .name("to_device_device")
            .table(ToDevice::Table)
            .col(ToDevice::UserId)
            .col(ToDevice::DeviceId)
            .col(ToDevice::Position)
            .to_owned(),
        Index::create()
            .name("to_device_expires")
            .table(ToDevice::Table)
            .col(ToDevice::ExpiresMs)
            .to_owned(),
        Index::create()
            .name("outbound_edus_destination")
            .table(OutboundEdus::Table)
            .col(OutboundEdus::Destination)
            .col(OutboundEdus::Position)
            .to_owned(),
        Index::create()
            .name("outbound_edus_expires")
            .table(OutboundEdus::Table)
            .col(OutboundEdus::ExpiresMs)
            .to_owned(),
    ]
}

fn device_keys() -> TableCreateStatement {
    Table::create()
        .table(DeviceKeys::Table)
        .col(string(DeviceKeys::UserId))
        .col(string(DeviceKeys::DeviceId))
        .col(text(DeviceKeys::Content))
        .primary_key(
            Index::create()
                .col(DeviceKeys::UserId)
                .col(DeviceKeys::DeviceId),
        )
        .to_owned()
}

fn one_time_keys() -> TableCreateStatement {
    Table::create()
        .table(OneTimeKeys::Table)
        .col(big_integer(OneTimeKeys::Id).primary_key())
        .col(string(OneTimeKeys::UserId))
        .col(string(OneTimeKeys::DeviceId))
        .col(string(OneTimeKeys::KeyId))
        .col(string(OneTimeKeys::Algorithm))
        .col(text(OneTimeKeys::Content))
        .to_owned()
}

fn fallback_keys() -> TableCreateStatement {
    Table::create()
        .table(FallbackKeys::Table)
        .col(string(FallbackKeys::UserId))
        .col(string(FallbackKeys::DeviceId))
        .col(string(FallbackKeys::Algorithm))
        .col(string(FallbackKeys::KeyId))
        .col(text(FallbackKeys::Content))
        .col(boolean(FallbackKeys::Used))
        .primary_key(
            Index::create()
                .col(FallbackKeys::UserId)
                .col(FallbackKeys::DeviceId)
                .col(FallbackKeys::Algorithm),
        )
        .to_owned()
}

fn cross_signing_keys() -> TableCreateStatement {
    Table::create()
        .table(CrossSigningKeys::Table)
        .col(string(CrossSigningKeys::UserId))
        .col(small_integer(CrossSigningKeys::Usage))
        .col(string(CrossSigningKeys::PublicKey))
        .col(text(CrossSigningKeys::Content))
        .primary_key(
            Index::create()
                .col(CrossSigningKeys::UserId)
                .col(CrossSigningKeys::Usage),
        )
        .to_owned()
}

fn key_signatures() -> TableCreateStatement {
    Table::create()
        .table(KeySignatures::Table)
        .col(string(KeySignatures::Signer))
        .col(string(KeySignatures::TargetUser))
        .col(string(KeySignatures::TargetKey))
        .col(string(KeySignatures::KeyId))
        .col(string(KeySignatures::Signature))
        .primary_key(
            Index::create()
                .col(KeySignatures::Signer)
                .col(KeySignatures::TargetUser)
                .col(KeySignatures::TargetKey)
                .col(KeySignatures::KeyId),
        )
        .to_owned()
}

fn to_device() -> TableCreateStatement {
    Table::create()
        .table(ToDevice::Table)
        .col(big_integer(ToDevice::Position).primary_key())
        .col(string(ToDevice::UserId))
        .col(string(ToDevice::DeviceId))
        .col(text(ToDevice::Content))
        .col(big_integer_null(ToDevice::ExpiresMs))
        .to_owned()
}

fn to_device_transactions() -> TableCreateStatement {
    Table::create()
        .table(ToDeviceTransactions::Table)
        .col(string(ToDeviceTransactions::UserId))
        .col(string(ToDeviceTransactions::DeviceId))
        .col(string(ToDeviceTransactions::EventType))
        .col(string(ToDeviceTransactions::TxnId))
        .col(big_integer(ToDeviceTransactions::CreatedMs))
        .primary_key(
            Index::create()
                .col(ToDeviceTransactions::UserId)
                .col(ToDeviceTransactions::DeviceId)
                .col(ToDeviceTransactions::EventType)
                .col(ToDeviceTransactions::TxnId),
        )
        .to_owned()
}

fn outbound_edus() -> TableCreateStatement {
    Table::create()
        .table(OutboundEdus::Table)
        .col(big_integer(OutboundEdus::Position).primary_key())
        .col(string(OutboundEdus::Destination))
        .col(text(OutboundEdus::Body))
        .col(big_integer_null(OutboundEdus::ExpiresMs))
        .to_owned()
}

#[derive(DeriveIden)]
enum DeviceKeys {
    Table,
    UserId,
    DeviceId,
    Content,
}

#[derive(DeriveIden)]
enum OneTimeKeys {
    Table,
    Id,
    UserId,
    DeviceId,
    KeyId,
    Algorithm,
    Content,
}

#[derive(DeriveIden)]
enum FallbackKeys {
    Table,
    UserId,
    DeviceId,
    Algorithm,
    KeyId,
    Content,
    Used,
}

#[derive(DeriveIden)]
enum CrossSigningKeys {
    Table,
    UserId,
    Usage,
    PublicKey,
    Content,
}

#[derive(DeriveIden)]
enum KeySignatures {
    Table,
    Signer,
    TargetUser,
    TargetKey,
    KeyId,
    Signature,
}

#[derive(DeriveIden)]
enum ToDevice {
    Table,
    Position,
    UserId,
    DeviceId,
    Content,
    ExpiresMs,
}

#[derive(DeriveIden)]
enum ToDeviceTransactions {
    Table,
    UserId,
    DeviceId,
    EventType,
    TxnId,
    CreatedMs,
}

#[derive(DeriveIden)]
enum OutboundEdus {
    Table,
    Position,
    Destination,
    Body,
    ExpiresMs,
}
