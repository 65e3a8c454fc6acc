//! One task per room that has something to send.
//!
//! Invariant: while a worker sleeps it does not keep the client alive; a client that is dropped takes its workers along, and
//! what they had left to do is on disk.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use ruma::{OwnedRoomId, RoomId};
use tokio::sync::Notify;

use super::{
    Target, Waiting,
    deliver::{Delivered, Obstacle},
    message::receipt_value,
};
use crate::{
    client::{Blocked, Client, ClientError, Inner, Notification, SendUpdate, within},
    crypto::{CryptoError, SecretBytes},
    store::Batch,
};

/// How long a blocked room sleeps at most before it looks again by itself.
const BLOCKED_PAUSE: Duration = Duration::from_secs(30);

/// What a worker does next.
enum Next {
    Again,
    /// Until rung, or this long.
    Sleep(Duration),
    /// This long in any case, because the server asks for it.
    Wait(Duration),
    Done,
}

impl Client {
    /// Has a worker look after the room, unless one does.
    pub(super) fn start_worker(&self, room_id: &RoomId) {
        let wake = {
            let mut state = self.inner.queue.state();
            let Some(lane) = state.rooms.get_mut(room_id) else {
                return;
            };
            if lane.working {
                lane.wake.notify_one();
                return;
            }
            lane.working = true;
            lane.wake.clone()
        };
        tokio::spawn(work(Arc::downgrade(&self.inner), room_id.to_owned(), wake));
    }

    /// The first message, if there is one; otherwise the worker is off duty.
    fn first(&self, room_id: &RoomId) -> Option<Arc<Waiting>> {
        let mut state = self.inner.queue.state();
        let lane = state.rooms.get_mut(room_id)?;
        match lane.waiting.front() {
            Some(first) => {
                lane.sending = true;
                Some(first.clone())
            }
            None => {
                lane.working = false;
                None
            }
        }
    }

    fn not_sending(&self, room_id: &RoomId) {
        if let Some(lane) = self.inner.queue.state().rooms.get_mut(room_id) {
            lane.sending = false;
        }
    }

    /// Tries to send the room's first message.
    async fn work_once(&self, room_id: &RoomId, attempt: u32) -> Next {
        let Some(first) = self.first(room_id) else {
            return Next::Done;
        };
        let outcome = self.deliver(room_id, &first).await;
        let written = match outcome {
            Ok(sent) => self.delivered(room_id, &first, sent).await,
            Err(Obstacle::Failed(reason)) => self.failed(room_id, &first, reason).await,
            Err(Obstacle::Later(wanted)) => {
                self.not_sending(room_id);
                let pause = self.pause(attempt);
                return wanted.map_or(Next::Sleep(pause), |wanted| Next::Wait(pause.max(wanted)));
            }
            Err(Obstacle::Blocked(reason)) => {
                self.not_sending(room_id);
                self.tell_blocked(room_id, reason);
                return Next::Sleep(BLOCKED_PAUSE);
            }
        };
        self.not_sending(room_id);
        match written {
            Ok(()) => Next::Again,
            Err(error) => {
                // The message will be sent again under the same name, which the server recognises.
                tracing::warn!(%error, "the queue could not be written");
                Next::Sleep(self.pause(attempt))
            }
        }
    }

    /// Tells why the room stands still, once for each reason.
    fn tell_blocked(&self, room_id: &RoomId, reason: Blocked) {
        let news = match self.inner.queue.state().rooms.get_mut(room_id) {
            Some(lane) => lane.blocked.replace(reason.clone()).as_ref() != Some(&reason),
            None => false,
        };
        if news {
            let room_id = room_id.to_owned();
            self.notify(Notification::Send(SendUpdate::Blocked { room_id, reason }));
        }
    }

    async fn delivered(
        &self,
        room_id: &RoomId,
        first: &Waiting,
        sent: Delivered,
    ) -> Result<(), ClientError> {
        let Delivered { event_id, deadline } = sent;
        let mut batch = Batch {
            send_queue_delete: vec![first.id],
            ..Batch::default()
        };
        let _one_at_a_time = self.inner.queue.writing.lock().await;
        // It may have become uninteresting since it was begun.
        let keep_receipt = self
            .queued(room_id, first.id)
            .is_some_and(|current| current.message.keep_receipt);
        if keep_receipt {
            let kept = SecretBytes::new(event_id.as_bytes().to_vec());
            batch
                .values
                .push((receipt_value(&first.transaction_id), Some(kept)));
        }
        let target = Some(Target::Event(event_id.clone()));
        let retargeted = self.retarget(room_id, first, target, &mut batch)?;
        let written = self.step(|machine, _| {
            if let Some(deadline) = deadline {
                let noted = machine.note_deadline(&event_id, deadline)?;
                batch.crypto = noted.into_parts().0;
            }
            Ok::<_, CryptoError>((batch, ()))
        });
        written.await??;
        self.replace(room_id, retargeted);
        self.forget(room_id, first.id);
        self.notify(Notification::Send(SendUpdate::Sent {
            transaction_id: first.transaction_id.clone(),
            room_id: room_id.to_owned(),
            event_id,
        }));
        Ok(())
    }

    async fn failed(
        &self,
        room_id: &RoomId,
        first: &Waiting,
        reason: String,
    ) -> Result<(), ClientError> {
        let mut batch = Batch {
            send_queue_delete: vec![first.id],
            ..Batch::default()
        };
        let _one_at_a_time = self.inner.queue.writing.lock().await;
        let current = self.queued(room_id, first.id);
        if current.is_some_and(|current| current.message.target != first.message.target) {
            // What it refers to was cancelled while this was tried: it has another chance.
            return Ok(());
        }
        tracing::warn!(%reason, "a message was refused and taken out of the queue");
        // What would have changed the message now stands for itself.
        let retargeted = self.retarget(room_id, first, None, &mut batch)?;
        self.inner.store.commit(batch).await?;
        self.replace(room_id, retargeted);
        self.forget(room_id, first.id);
        self.notify(Notification::Send(SendUpdate::Failed {
            transaction_id: first.transaction_id.clone(),
            room_id: room_id.to_owned(),
            reason,
        }));
        Ok(())
    }

    /// Tells the messages that wait for this one's ID what it is.
    pub(super) fn retarget(
        &self,
        room_id: &RoomId,
        first: &Waiting,
        target: Option<Target>,
        batch: &mut Batch,
    ) -> Result<Vec<Waiting>, ClientError> {
        let state = self.inner.queue.state();
        let Some(lane) = state.rooms.get(room_id) else {
            return Ok(Vec::new());
        };
        let wanted = Some(Target::Queued(first.transaction_id.clone()));
        let mut retargeted = Vec::new();
        for waiting in lane
            .waiting
            .iter()
            .filter(|waiting| waiting.message.target == wanted)
        {
            let message = match &target {
                Some(_) => {
                    let mut message = waiting.message.clone();
                    message.target.clone_from(&target);
                    message
                }
                None => waiting.message.without_target(),
            };
            let transaction_id = waiting.transaction_id.clone();
            batch
                .send_queue_put
                .push(message.to_item(waiting.id, room_id, &transaction_id)?);
            retargeted.push(Waiting {
                id: waiting.id,
                transaction_id,
                message,
            });
        }
        Ok(retargeted)
    }

    pub(super) fn replace(&self, room_id: &RoomId, changed: Vec<Waiting>) {
        let mut state = self.inner.queue.state();
        let Some(lane) = state.rooms.get_mut(room_id) else {
            return;
        };
        for changed in changed {
            if let Some(place) = lane
                .waiting
                .iter_mut()
                .find(|waiting| waiting.id == changed.id)
            {
                *place = Arc::new(changed);
            }
        }
    }
}

/// Works until the room has nothing left to send or the client is gone.
async fn work(client: Weak<Inner>, room_id: OwnedRoomId, wake: Arc<Notify>) {
    let mut attempt = 0;
    loop {
        let Some(inner) = client.upgrade() else {
            return;
        };
        let clock = inner.clock.clone();
        let next = Client { inner }.work_once(&room_id, attempt).await;
        match next {
            Next::Again => attempt = 0,
            Next::Done => return,
            Next::Wait(pause) => {
                attempt += 1;
                clock.sleep(pause).await;
            }
            Next::Sleep(pause) => {
                attempt += 1;
                // Whoever rings knows something new, so the back-off starts over.
                if within(pause, wake.notified()).await.is_some() {
                    attempt = 0;
                }
            }
        }
    }
}
