//! A store that lives in memory: for tests, and for bots that log in afresh at each start.
//!
//! Invariant: it keeps every promise of [`Store`] but survival.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    AccountBinding, Batch, InboxItem, RoomEntry, SendQueueItem, Store, StoreError, StoreFuture,
};
use crate::crypto::{Record, SecretBytes, Table};

/// A store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Option<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    account: Option<AccountBinding>,
    records: BTreeMap<(Table, String), SecretBytes>,
    values: BTreeMap<String, SecretBytes>,
    send_queue: BTreeMap<i64, SendQueueItem>,
    rooms: BTreeMap<String, RoomEntry>,
    inbox: BTreeMap<i64, InboxItem>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            tables: Mutex::new(Some(Tables::default())),
        }
    }

    /// The names of all values.
    #[cfg(test)]
    pub(crate) fn value_names(&self) -> Vec<String> {
        let tables = self.lock();
        tables
            .iter()
            .flat_map(|tables| tables.values.keys().cloned())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tables>> {
        // Every change below is a single call that cannot panic half way, so a poisoned lock still guards whole tables.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        step: impl FnOnce(&mut Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.lock().as_mut().map_or(Err(StoreError::Wiped), step)
    }

    fn ready<'a, T: Send + 'a>(
        &self,
        step: impl FnOnce(&mut Tables) -> Result<T, StoreError>,
    ) -> StoreFuture<'a, T> {
        let result = self.with(step);
        Box::pin(async move { result })
    }
}

impl Tables {
    fn apply(&mut self, batch: Batch) {
        for (table, key, value) in batch.crypto.iter() {
            let row = (table, key.to_owned());
            match value {
                Some(value) => drop(self.records.insert(row, value.clone())),
                None => drop(self.records.remove(&row)),
            }
        }
        for (name, value) in batch.values {
            match value {
                Some(value) => drop(self.values.insert(name, value)),
                None => drop(self.values.remove(&name)),
            }
        }
        self.send_queue
            .extend(batch.send_queue_put.into_iter().map(|item| (item.id, item)));
        for id in batch.send_queue_delete {
            self.send_queue.remove(&id);
        }
        for mut room in batch.rooms {
            let key = room.room_id.to_string();
            room.encrypted |= self.rooms.get(&key).is_some_and(|known| known.encrypted);
            self.rooms.insert(key, room);
        }
        self.inbox
            .extend(batch.inbox_put.into_iter().map(|item| (item.id, item)));
        for id in batch.inbox_delete {
            self.inbox.remove(&id);
        }
    }
}

impl Store for MemoryStore {
    fn account(&self) -> StoreFuture<'_, Option<AccountBinding>> {
        self.ready(|tables| Ok(tables.account.clone()))
    }

    fn bind<'a>(&'a self, account: &'a AccountBinding) -> StoreFuture<'a, ()> {
        self.ready(|tables| match &tables.account {
            Some(known) if known == account => Ok(()),
            Some(_) => Err(StoreError::WrongAccount),
            None => {
                tables.account = Some(account.clone());
                Ok(())
            }
        })
    }

    fn records(&self) -> StoreFuture<'_, Vec<Record>> {
        self.ready(|tables| {
            let record = |((table, key), value): (&(Table, String), &SecretBytes)| Record {
                table: *table,
                key: key.clone(),
                value: value.clone(),
            };
            Ok(tables.records.iter().map(record).collect())
        })
    }

    fn commit(&self, batch: Batch) -> StoreFuture<'_, ()> {
        self.ready(|tables| {
            tables.apply(batch);
            Ok(())
        })
    }

    fn value<'a>(&'a self, name: &'a str) -> StoreFuture<'a, Option<SecretBytes>> {
        self.ready(|tables| Ok(tables.values.get(name).cloned()))
    }

    fn send_queue(&self) -> StoreFuture<'_, Vec<SendQueueItem>> {
        self.ready(|tables| Ok(tables.send_queue.values().cloned().collect()))
    }

    fn rooms(&self) -> StoreFuture<'_, Vec<RoomEntry>> {
        self.ready(|tables| Ok(tables.rooms.values().cloned().collect()))
    }

    fn inbox(&self) -> StoreFuture<'_, Vec<InboxItem>> {
        self.ready(|tables| Ok(tables.inbox.values().cloned().collect()))
    }

    fn scrub(&self) -> StoreFuture<'_, ()> {
        self.ready(|_| Ok(()))
    }

    /// What is in memory needs no closing, and is there for the next client.
    fn close(&self) -> StoreFuture<'_, ()> {
        self.ready(|_| Ok(()))
    }

    fn wipe(&self) -> StoreFuture<'_, ()> {
        *self.lock() = None;
        Box::pin(async { Ok(()) })
    }
}
