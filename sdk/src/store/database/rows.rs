//! Reading and writing rows.
//!
//! Invariant: whatever is read was decrypted in its own place. An entry's kind is one of those below, or a crypto table's name with a
//! prefix.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, Statement, TransactionTrait, sea_query::OnConflict,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Open, database, entry, queue_item};
use crate::{
    crypto::{Record, SecretBytes, Table},
    store::{AccountBinding, Batch, InboxItem, RoomEntry, SendQueueItem, StoreError},
};

const ACCOUNT: &str = "account";
const VALUE: &str = "value";
const ROOM: &str = "room";
const SEND_QUEUE: &str = "send_queue";
const INBOX: &str = "inbox";

/// Before the name of a crypto table.
const CRYPTO: &str = "crypto ";

/// The one account's name.
const SINGLE: &str = "self";

impl Open {
    pub(super) async fn account(&self) -> Result<Option<AccountBinding>, StoreError> {
        let value = self.find(&self.connection, ACCOUNT, SINGLE).await?;
        value.map(|value| parse(&value, "the account")).transpose()
    }

    pub(super) async fn bind(&self, account: &AccountBinding) -> Result<(), StoreError> {
        match self.account().await? {
            Some(known) if known == *account => Ok(()),
            Some(_) => Err(StoreError::WrongAccount),
            None => {
                let transaction = self.connection.begin().await.map_err(database)?;
                self.put(&transaction, ACCOUNT, SINGLE, to_json(account)?.expose())
                    .await?;
                transaction.commit().await.map_err(database)
            }
        }
    }

    pub(super) async fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        for table in Table::ALL {
            for (key, value) in self.list(&crypto_kind(table)).await? {
                records.push(Record {
                    table,
                    key,
                    value: SecretBytes::new(value),
                });
            }
        }
        Ok(records)
    }

    pub(super) async fn value(&self, name: &str) -> Result<Option<SecretBytes>, StoreError> {
        Ok(self
            .find(&self.connection, VALUE, name)
            .await?
            .map(SecretBytes::new))
    }

    pub(super) async fn send_queue(&self) -> Result<Vec<SendQueueItem>, StoreError> {
        self.items(SEND_QUEUE).await
    }

    pub(super) async fn rooms(&self) -> Result<Vec<RoomEntry>, StoreError> {
        let rooms = self.list(ROOM).await?.into_iter();
        rooms.map(|(_, value)| parse(&value, "a room")).collect()
    }

    pub(super) async fn inbox(&self) -> Result<Vec<InboxItem>, StoreError> {
        self.items(INBOX).await
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let transaction = self.connection.begin().await.map_err(database)?;
        // Dropping the transaction, as an error does, rolls it back.
        self.write(&transaction, batch).await?;
        transaction.commit().await.map_err(database)
    }

    async fn write(
        &self,
        transaction: &DatabaseTransaction,
        batch: Batch,
    ) -> Result<(), StoreError> {
        for (table, key, value) in batch.crypto.iter() {
            self.set(transaction, &crypto_kind(table), key, value)
                .await?;
        }
        for (name, value) in &batch.values {
            self.set(transaction, VALUE, name, value.as_ref()).await?;
        }
        for room in batch.rooms {
            self.put_room(transaction, room).await?;
        }
        for item in &batch.send_queue_put {
            self.put_item(transaction, SEND_QUEUE, item.id, item)
                .await?;
        }
        for item in &batch.inbox_put {
            self.put_item(transaction, INBOX, item.id, item).await?;
        }
        delete_items(transaction, SEND_QUEUE, batch.send_queue_delete).await?;
        delete_items(transaction, INBOX, batch.inbox_delete).await
    }

    async fn put_room(
        &self,
        transaction: &DatabaseTransaction,
        mut room: RoomEntry,
    ) -> Result<(), StoreError> {
        if let Some(known) = self.find(transaction, ROOM, room.room_id.as_str()).await? {
            room.encrypted |= parse::<RoomEntry>(&known, "a room")?.encrypted;
        }
        let value = to_json(&room)?;
        self.put(transaction, ROOM, room.room_id.as_str(), value.expose())
            .await
    }

    async fn set(
        &self,
        transaction: &DatabaseTransaction,
        kind: &str,
        name: &str,
        value: Option<&SecretBytes>,
    ) -> Result<(), StoreError> {
        if let Some(value) = value {
            return self.put(transaction, kind, name, value.expose()).await;
        }
        let row = (kind.to_owned(), self.cipher.hash_name(kind, name));
        entry::Entity::delete_by_id(row)
            .exec(transaction)
            .await
            .map_err(database)?;
        Ok(())
    }

    async fn put(
        &self,
        transaction: &DatabaseTransaction,
        kind: &str,
        name: &str,
        value: &[u8],
    ) -> Result<(), StoreError> {
        let row = entry::ActiveModel {
            kind: Set(kind.to_owned()),
            name: Set(self.cipher.hash_name(kind, name)),
            value: Set(self
                .cipher
                .seal_entry(kind, name, value, self.rng.as_ref())?),
        };
        let key = [entry::Column::Kind, entry::Column::Name];
        let replace = OnConflict::columns(key)
            .update_column(entry::Column::Value)
            .to_owned();
        let insert = entry::Entity::insert(row).on_conflict(replace);
        insert
            .exec_without_returning(transaction)
            .await
            .map_err(database)?;
        Ok(())
    }

    async fn put_item<T: Serialize>(
        &self,
        transaction: &DatabaseTransaction,
        kind: &str,
        id: i64,
        item: &T,
    ) -> Result<(), StoreError> {
        let value = self
            .cipher
            .seal_item(kind, id, to_json(item)?.expose(), self.rng.as_ref())?;
        let row = queue_item::ActiveModel {
            kind: Set(kind.to_owned()),
            id: Set(id),
            value: Set(value),
        };
        let key = [queue_item::Column::Kind, queue_item::Column::Id];
        let replace = OnConflict::columns(key)
            .update_column(queue_item::Column::Value)
            .to_owned();
        let insert = queue_item::Entity::insert(row).on_conflict(replace);
        insert
            .exec_without_returning(transaction)
            .await
            .map_err(database)?;
        Ok(())
    }

    async fn find<C: ConnectionTrait>(
        &self,
        connection: &C,
        kind: &str,
        name: &str,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let hash = self.cipher.hash_name(kind, name);
        let row = entry::Entity::find_by_id((kind.to_owned(), hash))
            .one(connection)
            .await
            .map_err(database)?;
        row.map(|row| Ok(self.cipher.open_entry(kind, &row.name, &row.value)?.1))
            .transpose()
    }

    async fn list(&self, kind: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let rows = entry::Entity::find().filter(entry::Column::Kind.eq(kind));
        let rows = rows.all(&self.connection).await.map_err(database)?;
        rows.iter()
            .map(|row| self.cipher.open_entry(kind, &row.name, &row.value))
            .collect()
    }

    async fn items<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<T>, StoreError> {
        let rows = queue_item::Entity::find()
            .filter(queue_item::Column::Kind.eq(kind))
            .order_by_asc(queue_item::Column::Id)
            .all(&self.connection);
        let open = |row: &queue_item::Model| {
            parse(
                &self.cipher.open_item(kind, row.id, &row.value)?,
                "a queue item",
            )
        };
        rows.await.map_err(database)?.iter().map(open).collect()
    }

    /// Moves the write-ahead log into the database and empties it: deleted rows live on in it until then.
    pub(super) async fn scrub(&self) -> Result<(), StoreError> {
        let statement = Statement::from_string(
            sea_orm::DbBackend::Sqlite,
            "PRAGMA wal_checkpoint(TRUNCATE)",
        );
        let answer = self
            .connection
            .query_one_raw(statement)
            .await
            .map_err(database)?;
        // The pragma answers "busy" instead of failing.
        let busy = answer.and_then(|row| row.try_get_by_index::<i64>(0).ok());
        if busy == Some(0) {
            Ok(())
        } else {
            Err(StoreError::Database)
        }
    }
}

async fn delete_items(
    transaction: &DatabaseTransaction,
    kind: &str,
    ids: Vec<i64>,
) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    queue_item::Entity::delete_many()
        .filter(queue_item::Column::Kind.eq(kind))
        .filter(queue_item::Column::Id.is_in(ids))
        .exec(transaction)
        .await
        .map_err(database)?;
    Ok(())
}

fn crypto_kind(table: Table) -> String {
    format!("{CRYPTO}{}", table.name())
}

fn to_json<T: Serialize>(value: &T) -> Result<SecretBytes, StoreError> {
    crate::crypto::to_json(value).map_err(|_| StoreError::Database)
}

fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|_| StoreError::Damaged { what })
}
