//! Encrypted events whose keys have not arrived yet.
//!
//! Invariant: memory and the store's inbox hold the same events; one leaves both when its key arrives, or when it is too old for
//! any key to come.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    client::{Client, ClientError},
    crypto::SecretBytes,
    store::InboxItem,
};

/// An event that waits for its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WaitingEvent {
    /// Its place in the inbox.
    #[serde(skip)]
    pub(crate) id: i64,
    /// The room.
    pub(crate) room_id: OwnedRoomId,
    /// The session whose key is missing.
    pub(crate) session_id: String,
    /// The event as it came; still encrypted.
    pub(crate) event: Box<RawValue>,
}

impl WaitingEvent {
    pub(crate) fn encode(&self) -> Option<InboxItem> {
        let body = serde_json::to_vec(self).ok()?;
        Some(InboxItem {
            id: self.id,
            body: SecretBytes::new(body),
        })
    }

    fn decode(item: &InboxItem) -> Option<Self> {
        let mut event: Self = serde_json::from_slice(item.body.expose()).ok()?;
        event.id = item.id;
        Some(event)
    }
}

/// The events that wait, by their place.
#[derive(Debug, Default)]
pub(crate) struct WaitingEvents(Mutex<BTreeMap<i64, WaitingEvent>>);

impl WaitingEvents {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i64, WaitingEvent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Takes up what the store holds.
    pub(crate) async fn load_waiting(&self) -> Result<(), ClientError> {
        let items = self.inner.store.inbox().await?;
        let events = items.iter().filter_map(WaitingEvent::decode);
        *self.inner.waiting.lock() = events.map(|event| (event.id, event)).collect();
        Ok(())
    }

    pub(crate) fn waiting_events(&self) -> BTreeMap<i64, WaitingEvent> {
        self.inner.waiting.lock().clone()
    }

    pub(crate) fn set_waiting(&self, (newly, no_longer): (Vec<WaitingEvent>, Vec<i64>)) {
        let mut waiting = self.inner.waiting.lock();
        for id in no_longer {
            waiting.remove(&id);
        }
        waiting.extend(newly.into_iter().map(|event| (event.id, event)));
    }
}
