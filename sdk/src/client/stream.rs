//! What a running client tells its program.
//!
//! Invariant: whatever is told here is on disk already. A program that falls behind by more than [`STREAM_ITEMS_MAX`] items
//! loses the oldest and is told so; it never slows the client down.

use std::{future::Future, sync::Arc, time::Duration};

use ruma::{OwnedEventId, OwnedRoomId, OwnedTransactionId};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::crypto::{IdentityChange, Notice, ToDeviceEvent};

/// How many items wait for a program that does not take them.
pub(crate) const STREAM_ITEMS_MAX: usize = 4096;

/// Anything but a room event.
#[derive(Clone, Debug)]
pub enum Notification {
    /// Something about keys and devices.
    Crypto(Notice),
    /// Something about a message in the send queue.
    Send(SendUpdate),
    /// A room's state, members or our membership changed.
    Room(OwnedRoomId),
    /// A to-device event that is for the program.
    ToDevice(ToDeviceEvent),
    /// Somebody types or has read; the event as it came.
    Ephemeral(OwnedRoomId, Box<serde_json::value::RawValue>),
    /// The wall clock has jumped ahead by more than ten minutes. What has expired by it is hidden, but no key is destroyed until a
    /// server's timestamps agree with it, or a day has passed. Somebody should look at the clock.
    ClockJumped,
    /// The devices and identities of some users have been fetched anew.
    Devices,
    /// The session is over.
    SessionEnded(Ended),
    /// A sync was completed: the program is as up to date as its server.
    Synced,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The token expired and cannot be renewed: log in again, as the same device; keys and queue are kept.
    NeedsLogin,
    /// The server says that the session no longer exists. Keys are kept until [`Client::wipe`](super::Client::wipe).
    ByServer,
}

/// What became of a message in the send queue.
#[derive(Clone, Debug)]
pub enum SendUpdate {
    /// The server has it.
    Sent {
        /// The message's name in the queue.
        transaction_id: OwnedTransactionId,
        /// Where.
        room_id: OwnedRoomId,
        /// Its ID.
        event_id: OwnedEventId,
    },
    /// Nothing goes into this room until the program decides.
    Blocked {
        /// Where.
        room_id: OwnedRoomId,
        /// Why.
        reason: Blocked,
    },
    /// The server refuses it for good, or it was cancelled; it was taken out of the queue.
    Failed {
        /// The message's name in the queue.
        transaction_id: OwnedTransactionId,
        /// Where.
        room_id: OwnedRoomId,
        /// The server's errcode, or what is wrong with the message.
        reason: String,
    },
}

/// Why a room's queue stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Members' identities changed: see [`Client::accept_identity_change`](super::Client::accept_identity_change).
    IdentityChanged(Vec<IdentityChange>),
    /// Members joined whom nobody accepted: see `Room::accept_members`.
    NewMembers(Vec<ruma::OwnedUserId>),
    /// The message must be encrypted and the room is not.
    NotEncrypted,
    /// We are not in the room, or have not heard of it yet.
    NotJoined,
}

/// Items as they happen.
#[derive(Debug)]
pub struct Stream<T>(broadcast::Receiver<Arc<T>>);

impl<T: Clone> Stream<T> {
    pub(crate) const fn new(receiver: broadcast::Receiver<Arc<T>>) -> Self {
        Self(receiver)
    }

    /// The next item; `None` when the client is gone.
    pub async fn next(&mut self) -> Option<Arc<T>> {
        loop {
            match self.0.recv().await {
                Ok(item) => return Some(item),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a program fell behind its stream");
                }
            }
        }
    }

    /// The first item for which `wanted` gives something, with what it gives; `None` if there is none within `patience`.
    pub async fn wait_for<R>(
        &mut self,
        patience: Duration,
        mut wanted: impl FnMut(&T) -> Option<R> + Send,
    ) -> Option<R>
    where
        T: Send + Sync,
    {
        let found = async {
            loop {
                let item = self.next().await?;
                if let Some(found) = wanted(&item) {
                    return Some(found);
                }
            }
        };
        within(patience, found).await.flatten()
    }
}

/// The future's outcome, if there is one in time.
pub(crate) async fn within<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(patience, future).await.ok()
}
