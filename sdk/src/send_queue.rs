//! Messages on their way out, on disk from the moment that the program is told so.
//!
//! Invariant: a message keeps its transaction ID through every retry and restart, so that the server takes it once. Within a room
//! the order of queueing is the order of sending; between rooms nothing waits for anything. A message that was queued for an
//! encrypted room never leaves in the clear: that is decided when it is queued and again when it is sent.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers>

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedTransactionId, RoomId, TransactionId, serde::JsonObject,
};
use tokio::sync::Notify;

use crate::{
    client::{Blocked, Client, ClientError, Notification, SendUpdate, Stream, app_value, within},
    crypto::SecretBytes,
    expiry::ExpiryClass,
    store::{Batch, SendQueueItem},
};

mod deliver;
mod encrypt;
mod message;
mod prepare;
mod worker;

pub use message::Target;
pub(crate) use message::{QueuedMessage, receipt_value};

/// The most messages in the queue, over all rooms.
pub const QUEUE_ITEMS_MAX: usize = 10_000;

/// How a message is to be sent.
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// How long it lives; the room's policy decides if this is `None`, and shortens it in any case.
    pub expiry: Option<ExpiryClass>,
    /// Whether it waits until the room is encrypted, if it is not. A room that is known to be encrypted gets nothing in the clear
    /// in any case.
    pub must_encrypt: bool,
    /// The message that this one changes or reacts to; its ID is put into `m.relates_to`.
    pub target: Option<Target>,
    /// Its name in the queue; a fresh one unless set.
    pub transaction_id: Option<OwnedTransactionId>,
    /// Whether the event ID is kept after sending, for a later [`Target::Queued`].
    pub keep_receipt: bool,
    /// Messages whose kept event IDs are no longer needed.
    pub forget_receipts: Vec<OwnedTransactionId>,
    /// Values to keep, as by [`Client::set_value`], in the transaction that queues the message.
    pub values: Vec<(String, Option<SecretBytes>)>,
}

/// A message in memory.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: i64,
    pub(crate) transaction_id: OwnedTransactionId,
    pub(crate) message: QueuedMessage,
}

/// The queue's memory; the store has the same on disk.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    state: Mutex<QueueState>,
    /// Held while something is written to the queue, so that disk and memory agree on the order.
    writing: tokio::sync::Mutex<()>,
    /// Rings when anything leaves the queue.
    left: Notify,
}

#[derive(Debug, Default)]
struct QueueState {
    rooms: BTreeMap<OwnedRoomId, Lane>,
    next_id: i64,
}

impl QueueState {
    /// Takes a message out that is not on the wire.
    fn take_out(&mut self, transaction_id: &TransactionId) -> Option<(OwnedRoomId, Arc<Waiting>)> {
        self.rooms.iter_mut().find_map(|(room_id, lane)| {
            let mut all = lane.waiting.iter();
            let place = all.position(|waiting| waiting.transaction_id == *transaction_id)?;
            if place == 0 && lane.sending {
                return None;
            }
            Some((room_id.clone(), lane.waiting.remove(place)?))
        })
    }

    /// Puts a message back in its place.
    fn put_back(&mut self, room_id: &RoomId, waiting: Arc<Waiting>) {
        let lane = self.rooms.entry(room_id.to_owned()).or_default();
        let later = lane.waiting.iter().position(|other| other.id > waiting.id);
        let place = later.unwrap_or(lane.waiting.len());
        lane.waiting.insert(place, waiting);
    }
}

/// One room's part of the queue.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Arc<Waiting>>,
    /// Whether a worker is at it.
    working: bool,
    /// Whether the first message is on the wire, so that it can no longer be cancelled.
    sending: bool,
    /// Rings when it is worth trying again.
    wake: Arc<Notify>,
    /// Why it stands still, if the program was told so.
    blocked: Option<Blocked>,
}

impl SendQueue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn len(&self) -> usize {
        self.state()
            .rooms
            .values()
            .map(|lane| lane.waiting.len())
            .sum()
    }
}

/// A message that was queued.
#[derive(Debug)]
pub struct Sending {
    /// Its name in the queue.
    pub transaction_id: OwnedTransactionId,
    updates: Stream<Notification>,
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// It is still in the queue.
    #[error("the message has not been sent yet")]
    StillWaiting,
    /// It was taken out of the queue.
    #[error("the message was refused: {0}")]
    Refused(String),
}

impl Sending {
    /// Waits until the server has it.
    ///
    /// # Errors
    ///
    /// [`SendFailure`]; a message that is still waiting after `patience` stays in the queue.
    pub async fn event_id(mut self, patience: Duration) -> Result<OwnedEventId, SendFailure> {
        let own = self.transaction_id.clone();
        let update = self
            .updates
            .wait_for(patience, move |notification| match notification {
                Notification::Send(SendUpdate::Sent {
                    transaction_id,
                    event_id,
                    ..
                }) if *transaction_id == own => Some(Ok(event_id.clone())),
                Notification::Send(SendUpdate::Failed {
                    transaction_id,
                    reason,
                    ..
                }) if *transaction_id == own => Some(Err(SendFailure::Refused(reason.clone()))),
                _ => None,
            });
        update.await.unwrap_or(Err(SendFailure::StillWaiting))
    }
}

impl Client {
    /// Puts a message into the queue; returns once it is on disk.
    pub(crate) async fn enqueue(
        &self,
        room_id: &RoomId,
        event_type: &str,
        content: JsonObject,
        options: SendOptions,
    ) -> Result<Sending, ClientError> {
        self.session()?;
        let queue = &self.inner.queue;
        let _one_at_a_time = queue.writing.lock().await;
        if queue.len() >= QUEUE_ITEMS_MAX {
            return Err(ClientError::QueueFull);
        }
        let target = match options.target {
            Some(target) => Some(self.resolve_target(target).await?),
            None => None,
        };
        let known = self.room_state(room_id);
        let transaction_id = options
            .transaction_id
            .unwrap_or_else(|| self.new_transaction_id());
        let message = QueuedMessage {
            event_type: event_type.to_owned(),
            content,
            wished: options.expiry,
            must_encrypt: options.must_encrypt || known.is_some_and(|state| state.is_encrypted()),
            target,
            keep_receipt: options.keep_receipt,
            wire: None,
            wire_deadline: None,
        };
        let updates = self.notifications();
        let id = queue.state().next_id.max(1);
        let mut batch = Batch::default();
        batch
            .send_queue_put
            .push(message.to_item(id, room_id, &transaction_id)?);
        let values = options.values.into_iter();
        batch
            .values
            .extend(values.map(|(name, value)| (app_value(&name), value)));
        let unkept = self.forget_receipts(&options.forget_receipts, &mut batch)?;
        self.inner.store.commit(batch).await?;
        for (room_id, waiting) in unkept {
            self.replace(&room_id, vec![waiting]);
        }
        let waiting = Waiting {
            id,
            transaction_id: transaction_id.clone(),
            message,
        };
        {
            let mut state = queue.state();
            state.next_id = id + 1;
            let lane = state.rooms.entry(room_id.to_owned()).or_default();
            lane.waiting.push_back(Arc::new(waiting));
        }
        self.start_worker(room_id);
        Ok(Sending {
            transaction_id,
            updates,
        })
    }

    /// Deletes kept event IDs. One that would still be kept, because its message waits, will not be: gives such messages as they are
    /// then.
    fn forget_receipts(
        &self,
        names: &[OwnedTransactionId],
        batch: &mut Batch,
    ) -> Result<Vec<(OwnedRoomId, Waiting)>, ClientError> {
        let receipts = names.iter().map(|name| (receipt_value(name), None));
        batch.values.extend(receipts);
        let state = self.inner.queue.state();
        let mut unkept = Vec::new();
        for (room_id, lane) in &state.rooms {
            for waiting in &lane.waiting {
                if !waiting.message.keep_receipt || !names.contains(&waiting.transaction_id) {
                    continue;
                }
                let mut message = waiting.message.clone();
                message.keep_receipt = false;
                let (id, transaction_id) = (waiting.id, waiting.transaction_id.clone());
                batch
                    .send_queue_put
                    .push(message.to_item(id, room_id, &transaction_id)?);
                let waiting = Waiting {
                    id,
                    transaction_id,
                    message,
                };
                unkept.push((room_id.clone(), waiting));
            }
        }
        Ok(unkept)
    }

    /// A target whose event ID is known if it was sent already.
    pub(crate) async fn resolve_target(&self, target: Target) -> Result<Target, ClientError> {
        let Target::Queued(transaction_id) = &target else {
            return Ok(target);
        };
        let still_waiting = {
            let state = self.inner.queue.state();
            let mut all = state.rooms.values().flat_map(|lane| &lane.waiting);
            all.any(|waiting| waiting.transaction_id == *transaction_id)
        };
        if still_waiting {
            return Ok(target);
        }
        let receipt = self.receipt(transaction_id).await?;
        receipt.map(Target::Event).ok_or(ClientError::UnknownTarget)
    }

    /// The event ID of a message that was sent with [`SendOptions::keep_receipt`].
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if the store cannot be read.
    pub async fn receipt(
        &self,
        transaction_id: &TransactionId,
    ) -> Result<Option<OwnedEventId>, ClientError> {
        let Some(kept) = self
            .inner
            .store
            .value(&receipt_value(transaction_id))
            .await?
        else {
            return Ok(None);
        };
        let text = std::str::from_utf8(kept.expose()).map_err(|_| ClientError::Decode)?;
        OwnedEventId::try_from(text)
            .map(Some)
            .map_err(|_| ClientError::Decode)
    }

    /// Takes a message out of the queue; `false` if it is not there any more or is on the wire.
    ///
    /// # Errors
    ///
    /// [`ClientError::Store`] if the store cannot be written.
    pub async fn cancel(&self, transaction_id: &TransactionId) -> Result<bool, ClientError> {
        let queue = &self.inner.queue;
        let _one_at_a_time = queue.writing.lock().await;
        // Out of memory first, under the lock by which a worker takes a message: from here on none can begin to send it.
        let Some((room_id, waiting)) = queue.state().take_out(transaction_id) else {
            return Ok(false);
        };
        let mut batch = Batch {
            send_queue_delete: vec![waiting.id],
            ..Batch::default()
        };
        let written = match self.retarget(&room_id, &waiting, None, &mut batch) {
            Ok(retargeted) => {
                let written = self.inner.store.commit(batch).await;
                written.map(|()| retargeted).map_err(ClientError::from)
            }
            Err(error) => Err(error),
        };
        match written {
            Ok(retargeted) => self.replace(&room_id, retargeted),
            Err(error) => {
                queue.state().put_back(&room_id, waiting);
                self.start_worker(&room_id);
                return Err(error);
            }
        }
        self.forget(&room_id, waiting.id);
        self.wake_queue();
        self.notify(Notification::Send(SendUpdate::Failed {
            transaction_id: transaction_id.to_owned(),
            room_id,
            reason: "cancelled".to_owned(),
        }));
        Ok(true)
    }

    /// A message as it lies in the queue now, if it still does.
    fn queued(&self, room_id: &RoomId, id: i64) -> Option<Arc<Waiting>> {
        let state = self.inner.queue.state();
        let lane = state.rooms.get(room_id)?;
        lane.waiting
            .iter()
            .find(|waiting| waiting.id == id)
            .cloned()
    }

    pub(crate) async fn queue_writing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.queue.writing.lock().await
    }

    fn forget(&self, room_id: &RoomId, id: i64) {
        let queue = &self.inner.queue;
        if let Some(lane) = queue.state().rooms.get_mut(room_id) {
            lane.waiting.retain(|waiting| waiting.id != id);
            lane.blocked = None;
        }
        queue.left.notify_waiters();
    }

    /// How many messages wait.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.inner.queue.len()
    }

    /// Waits until the queue is empty; `false` if it is not within `patience`. What is left stays on disk.
    pub async fn drain_queue(&self, patience: Duration) -> bool {
        let empty = async {
            loop {
                let left = self.inner.queue.left.notified();
                if self.queue_len() == 0 {
                    return;
                }
                left.await;
            }
        };
        within(patience, empty).await.is_some()
    }

    /// Takes up what the store holds.
    pub(crate) async fn resume_queue(&self) -> Result<(), ClientError> {
        let _one_at_a_time = self.inner.queue.writing.lock().await;
        let mut items: Vec<SendQueueItem> = self.inner.store.send_queue().await?;
        items.sort_by_key(|item| item.id);
        let mut rooms = Vec::new();
        {
            let mut state = self.inner.queue.state();
            for item in items {
                state.next_id = state.next_id.max(item.id + 1);
                let (room_id, waiting) = QueuedMessage::from_item(&item)?;
                let lane = state.rooms.entry(room_id.clone()).or_default();
                if lane.waiting.iter().all(|known| known.id != waiting.id) {
                    lane.waiting.push_back(Arc::new(waiting));
                }
                rooms.push(room_id);
            }
        }
        rooms.dedup();
        for room_id in rooms {
            self.start_worker(&room_id);
        }
        Ok(())
    }

    /// Has every room that waits tried again now.
    pub(crate) fn wake_queue(&self) {
        let state = self.inner.queue.state();
        for lane in state.rooms.values().filter(|lane| !lane.waiting.is_empty()) {
            lane.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
