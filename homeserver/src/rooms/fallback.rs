//! Redactions in place of expiry, for servers that do not destroy what expires: sent at the deadline as the one who sent the
//! message, and before that one leaves.
//!
//! Invariant: nothing is redacted in a room all of whose servers claim support. A message is redacted once, over a restart too:
//! whether it was is read of the message itself. Whoever is not in the room any more redacts nothing.
//!
//! Spec: <https://spec.matrix.org/v1.19/rooms/v3/#handling-redactions>; that it is done is no part of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId, events::TimelineEventType};
use serde_json::json;

use super::{Draft, MembershipChange, Rooms, SendError, Snapshot, chain::Chain, create::raw};
use crate::{
    drain::Drain,
    outbound::Support,
    store::{OwedRedaction, SettleRedactions, StoreError},
};

/// Redactions that are looked at before it is noted what came of them.
const REDACTIONS_PER_BATCH: u64 = 200;
/// Messages that are redacted before their sender leaves: the newest.
const FLUSHED_MAX: u64 = 500;

/// What sends redactions in place of expiry, for one process.
#[derive(Debug)]
pub struct Fallback {
    rooms: Arc<Rooms>,
    drain: Drain,
    interval: Duration,
}

impl Fallback {
    /// For the messages of the users of `rooms`; looks every `interval`.
    pub fn new(rooms: Arc<Rooms>, drain: Drain, interval: Duration) -> Self {
        Self {
            rooms,
            drain,
            interval,
        }
    }

    /// Redacts until the process ends.
    pub async fn run(self) {
        let clock = Arc::clone(&self.rooms.context.clock);
        while !self.drain.has_begun() {
            match self.pass().await {
                Ok(true) => {}
                Ok(false) => continue,
                Err(error) => {
                    tracing::error!(%error, "expired messages could not be redacted for other servers; it is tried again");
                }
            }
            tokio::select! {
                biased;
                () = self.drain.begun() => {}
                () = clock.sleep(self.interval) => {}
            }
        }
    }

    /// Sees to one batch. Whether nothing is left that could be done now.
    ///
    /// # Errors
    /// What the database says; what was sent until then stays sent.
    pub async fn pass(&self) -> Result<bool, StoreError> {
        let store = self.rooms.store();
        let owed = store.owed_redactions(REDACTIONS_PER_BATCH).await?;
        let is_last = (owed.len() as u64) < REDACTIONS_PER_BATCH;
        let mut needing = HashMap::new();
        let mut settled = Vec::new();
        for redaction in owed {
            if self.drain.has_begun() {
                break;
            }
            let needs = match needing.get(&redaction.room_id) {
                Some(needs) => *needs,
                None => {
                    let needs = self.rooms.needs_redactions(&redaction.room_id).await?;
                    needing.insert(redaction.room_id.clone(), needs);
                    needs
                }
            };
            if !needs || self.rooms.redact_expired(&redaction).await? {
                settled.push(redaction.event_id);
            }
        }
        let has_moved = !settled.is_empty();
        if has_moved {
            store.commit(SettleRedactions(settled)).await?;
        }
        Ok(is_last || !has_moved)
    }
}

impl Rooms {
    /// Whether a server in a room does not claim to destroy what expires, as far as is known.
    async fn needs_redactions(&self, room: &RoomId) -> Result<bool, StoreError> {
        match self.snapshot(room).await? {
            Some(snapshot) => Ok(self.has_servers_without_support(&snapshot).await),
            None => Ok(false),
        }
    }

    async fn has_servers_without_support(&self, snapshot: &Snapshot) -> bool {
        let servers: Vec<_> = snapshot.members.servers.keys().cloned().collect();
        let told = self.support.survey(&servers).await;
        told.iter().any(|(_, support)| *support != Support::Claimed)
    }

    /// Redacts a message as its sender. Whether that is settled: sent, needless or impossible.
    pub(crate) async fn redact_expired(
        self: &Arc<Self>,
        owed: &OwedRedaction,
    ) -> Result<bool, StoreError> {
        let event = self.store().event(&owed.event_id).await?;
        if event.is_none_or(|event| event.redacted_by.is_some()) {
            return Ok(true);
        }
        let sent = self
            .send_redaction(&owed.room_id, &owed.sender, &owed.event_id)
            .await;
        match sent {
            Ok(_) => Ok(true),
            Err(SendError::Busy | SendError::Storage) => Ok(false),
            Err(error) => {
                // Who was banned or has left cannot redact any more.
                tracing::debug!(%error, "an expired message cannot be redacted for other servers");
                Ok(true)
            }
        }
    }

    async fn send_redaction(
        self: &Arc<Self>,
        room: &RoomId,
        sender: &UserId,
        target: &EventId,
    ) -> Result<OwnedEventId, SendError> {
        self.send(Draft {
            room_id: room.to_owned(),
            sender: sender.to_owned(),
            kind: TimelineEventType::RoomRedaction,
            state_key: None,
            content: raw(&json!({ "reason": "expired" })),
            redacts: Some(target.to_owned()),
            transaction: None,
            timestamp_ms: None,
        })
        .await
    }

    /// Before one of ours leaves, is kicked or banned by one of ours: redacts what of theirs has yet to expire, since nobody
    /// may afterwards. What fails here never stops a leave.
    pub(super) async fn flush_redactions(self: &Arc<Self>, change: &MembershipChange) {
        if let Err(error) = self.try_flush(change).await {
            tracing::warn!(%error, "not all that expires could be redacted before its sender left");
        }
    }

    async fn try_flush(self: &Arc<Self>, change: &MembershipChange) -> Result<(), SendError> {
        let ends = matches!(change.content["membership"].as_str(), Some("leave" | "ban"));
        if !ends || !self.is_local(&change.user) {
            return Ok(());
        }
        let Some(snapshot) = self.snapshot(&change.room_id).await? else {
            return Ok(());
        };
        if !snapshot.members.is_joined(&change.user) {
            return Ok(());
        }
        let (room, user): (&OwnedRoomId, _) = (&change.room_id, &change.user);
        let newest = snapshot.order_max;
        let ids = self
            .store()
            .expiring_of(room, user, newest, FLUSHED_MAX)
            .await?;
        // Other servers are asked only where there is something to be redacted: whoever leaves does not wait for them else.
        if ids.is_empty() || !self.has_servers_without_support(&snapshot).await {
            return Ok(());
        }
        // Whoever may not remove somebody redacts nothing of theirs by trying.
        let draft = change.clone().into_draft();
        if Chain::on(&self.context, &snapshot)
            .draft(&draft)
            .await
            .is_err()
        {
            return Ok(());
        }
        for id in ids {
            let owed = OwedRedaction {
                event_id: id,
                room_id: room.clone(),
                sender: user.clone(),
            };
            self.redact_expired(&owed).await?;
        }
        Ok(())
    }
}
