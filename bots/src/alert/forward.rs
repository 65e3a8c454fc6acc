//! From a notification to the send queue.
//!
//! Invariant: nothing is queued before the room is known to be joined and encrypted; queued messages also wait by themselves for
//! encryption, so that even a room that lost it in somebody's telling never gets plaintext.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use passeur_sdk::{
    ClientError, Room,
    bot::{Outbox, OutboxError, Post},
};
use serde_json::{Map, Value};

use super::{
    config::ExpiryConfig,
    format::{Message, format},
    payload::{Notification, Status},
    webhook::{NotTaken, Sink},
};

/// Forwards notifications into a room.
#[derive(Clone, Debug)]
pub struct Forwarder {
    room: Room,
    outbox: Arc<Outbox>,
    expiry: ExpiryConfig,
    stopping: Arc<AtomicBool>,
}

impl Forwarder {
    /// Forwards into `room` through `outbox`.
    #[must_use]
    pub fn new(room: Room, outbox: Arc<Outbox>, expiry: ExpiryConfig) -> Self {
        Self {
            room,
            outbox,
            expiry,
            stopping: Arc::default(),
        }
    }

    /// Takes nothing any more.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), NotTaken> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(NotTaken::Stopping);
        }
        if !self.room.is_joined() || !self.room.is_encrypted() {
            return Err(NotTaken::RoomNotReady);
        }
        Ok(())
    }
}

impl Sink for Forwarder {
    async fn accept(&self, notification: Notification) -> Result<(), NotTaken> {
        self.check()?;
        let post = Post {
            content: content(&format(&notification)),
            expiry: self.expiry.class(&notification.severity),
            last: notification.status == Status::Resolved,
        };
        match self.outbox.put(&notification.key, post).await {
            Ok(posted) => {
                tracing::info!(?posted, "a notification was taken");
                Ok(())
            }
            Err(OutboxError::Full | OutboxError::Client(ClientError::QueueFull)) => {
                Err(NotTaken::Full)
            }
            Err(OutboxError::Client(error)) => {
                tracing::error!(%error, "a notification could not be queued");
                Err(NotTaken::Store)
            }
        }
    }

    async fn is_ready(&self) -> bool {
        self.check().is_ok()
    }
}

/// `m.text`, because clients do not notify anybody of an `m.notice`.
fn content(message: &Message) -> Map<String, Value> {
    let fields = [
        ("msgtype", "m.text"),
        ("body", message.plain.as_str()),
        ("format", "org.matrix.custom.html"),
        ("formatted_body", message.html.as_str()),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}
