//! A key store in memory, and rows that come back as they do from a backup.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ruma::EventId;
use sea_orm::{EntityTrait, IntoActiveModel};
use zeroize::Zeroizing;

use crate::store::{
    Change, KeyStore, KeyStoreError, Saving, Store, StoreError, Tx,
    entity::{event_bodies, events},
};

/// A key store in memory, which counts what it is asked and may fail.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    saved: Mutex<Option<Vec<u8>>>,
    pub(crate) saves: AtomicUsize,
    pub(crate) fails: AtomicBool,
}

impl KeyStore for Memory {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn load(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        Ok(self.saved.lock().unwrap().clone().map(Zeroizing::new))
    }

    fn hold(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        self.load()
    }

    fn save(&self, keys: Zeroizing<Vec<u8>>, _: bool) -> Saving {
        self.saves.fetch_add(1, Ordering::SeqCst);
        let fails = self.fails.load(Ordering::SeqCst);
        if !fails {
            *self.saved.lock().unwrap() = Some(keys.to_vec());
        }
        Box::pin(async move {
            match fails {
                true => Err(KeyStoreError::Interrupted),
                false => Ok(()),
            }
        })
    }
}

impl Memory {
    /// A copy, as whoever steals the key store has it.
    pub(crate) fn stolen(&self) -> Self {
        let saved = self.saved.lock().unwrap().clone();
        Self {
            saved: Mutex::new(saved),
            ..Self::default()
        }
    }
}

/// The rows of one event, as a backup has them.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    event: events::Model,
    pub(crate) body: event_bodies::Model,
}

/// Reads the rows of an event with its body.
pub(crate) async fn rows_of(store: &Store, id: &EventId) -> Rows {
    let event = events::Entity::find_by_id(id.as_str()).one(store.reader());
    let body = event_bodies::Entity::find_by_id(id.as_str()).one(store.reader());
    Rows {
        event: event.await.unwrap().unwrap(),
        body: body.await.unwrap().unwrap(),
    }
}

/// Puts the rows in place of those that are there, as restoring a backup does.
impl Change for Rows {
    type Output = ();

    async fn apply(&self, tx: &mut Tx) -> Result<(), StoreError> {
        let id = self.event.event_id.as_str();
        events::Entity::delete_by_id(id)
            .exec(tx.connection())
            .await?;
        event_bodies::Entity::delete_by_id(id)
            .exec(tx.connection())
            .await?;
        let event = self.event.clone().into_active_model();
        events::Entity::insert(event)
            .exec_without_returning(tx.connection())
            .await?;
        let body = self.body.clone().into_active_model();
        event_bodies::Entity::insert(body)
            .exec_without_returning(tx.connection())
            .await?;
        Ok(())
    }
}
