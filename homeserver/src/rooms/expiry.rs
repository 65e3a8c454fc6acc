//! The purge: destroys what has expired, and lets deadlines follow policies that changed.
//!
//! Invariant: what is due is gone from tables, caches and SQLite's write-ahead log within
//! [`LAG_MS_MAX`] while the process runs; where it cannot be, the operator is told. A pass may be
//! cut off at any point: the next one, or the next process, finds what is left. Nothing is hidden
//! here: that is the projection's, which does not wait for the purge.
//!
//! No part of the specification.

use std::{collections::HashMap, sync::Arc, time::Duration};

use passeur_protocol::expiry::{self, Deadline, Policy};
use ruma::OwnedEventId;

use super::{
    Rooms,
    deadline::{deadline_of, facts_of, policy_ids, stored},
};
use crate::{
    drain::Drain,
    store::{
        DestroyExpired, Event, ForgetTransactions, PolicyChange, PurgeToDevice, SaveExpiryClock,
        ShortenDeadlines, StoreError,
    },
};

/// Events whose bodies one change destroys: the writer is not held up for longer.
const DESTROYED_PER_CHANGE_MAX: u64 = 500;
/// Events whose deadlines one change moves.
const SHORTENED_PER_CHANGE_MAX: u64 = 200;
/// Rooms with a changed policy that one turn looks at, the one that has waited longest first.
const ROOMS_PER_TURN_MAX: u64 = 256;
/// Batches of events that one pass lets follow changed policies, before it sees to what is due again.
const BATCHES_PER_PASS_MAX: usize = 256;
/// How long after its deadline content may still be in a file, in ms.
pub const LAG_MS_MAX: i64 = 60_000;
/// How often the time is persisted while nothing expires, in ms.
const MARK_INTERVAL_MS: i64 = 60_000;
/// How long a client may repeat a request that sends to devices, in ms.
const TO_DEVICE_REPEAT_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// How long a client may repeat a request that sends an event, in ms.
const SEND_REPEAT_MS_MAX: i64 = 30 * 24 * 60 * 60 * 1000;

/// The purge of one process.
#[derive(Debug)]
pub struct Purge {
    rooms: Arc<Rooms>,
    drain: Drain,
    interval: Duration,
    /// The time that was persisted last.
    marked_ms: i64,
    /// Since when deleted content may have been lying in a file, in ms since the epoch.
    residue_since_ms: Option<i64>,
    /// Whether the operator was told that the clock has jumped.
    has_jumped: bool,
}

/// What a pass of the purge came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How many batches of messages followed a changed policy.
    pub batches: usize,
    /// Whether nothing is left that could be done now.
    pub is_done: bool,
}

impl Purge {
    /// The purge of what `rooms` hold, every `interval`.
    pub fn new(rooms: Arc<Rooms>, drain: Drain, interval: Duration) -> Self {
        Self {
            rooms,
            drain,
            interval,
            marked_ms: 0,
            residue_since_ms: None,
            has_jumped: false,
        }
    }

    /// Purges until the process ends.
    pub async fn run(mut self) {
        let (rooms, drain) = (Arc::clone(&self.rooms), self.drain.clone());
        let context = &rooms.context;
        while !drain.has_begun() {
            match self.pass().await {
                Ok(Passed { is_done: true, .. }) => {}
                Ok(Passed { is_done: false, .. }) => continue,
                Err(error) => {
                    tracing::error!(%error, "expired content could not be destroyed; it is tried again");
                }
            }
            tokio::select! {
                biased;
                () = drain.begun() => {}
                () = context.clock.sleep(self.interval) => {}
                () = context.store.policy_changed() => {}
            }
        }
    }

    /// Destroys what is due now, and then lets deadlines follow changed policies, within bounds: whoever keeps changing
    /// a policy keeps nothing else alive by it.
    ///
    /// # Errors
    /// What the database says; what was done until then stays done.
    pub async fn pass(&mut self) -> Result<Passed, StoreError> {
        self.settle().await?;
        let passed = self.follow_policies().await?;
        if passed.batches > 0 {
            self.settle().await?;
        }
        Ok(passed)
    }

    /// Destroys what is due, and clears files of it.
    async fn settle(&mut self) -> Result<(), StoreError> {
        let rooms = Arc::clone(&self.rooms);
        let store = &rooms.context.store;
        let now_ms = self.now_ms();
        self.destroy(now_ms).await?;
        let purge = PurgeToDevice {
            now_ms,
            forget_ms: now_ms.saturating_sub(TO_DEVICE_REPEAT_MS_MAX),
        };
        if store.commit(purge).await?.output > 0 {
            store.note_residue();
        }
        if now_ms.saturating_sub(self.marked_ms) >= MARK_INTERVAL_MS {
            self.mark(now_ms).await?;
            let before_ms = now_ms.saturating_sub(SEND_REPEAT_MS_MAX);
            store.commit(ForgetTransactions { before_ms }).await?;
        }
        self.clear_residue(now_ms).await?;
        let lag_ms = self
            .residue_since_ms
            .map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
        let buckets = store.expiry_buckets().unwrap_or(0);
        store.expiry_meter().note_pass(now_ms, lag_ms, buckets);
        Ok(())
    }

    /// Lets messages follow their rooms' changed policies, a batch a room in turn.
    async fn follow_policies(&self) -> Result<Passed, StoreError> {
        let store = &self.rooms.context.store;
        let mut batches = 0;
        loop {
            let changes = store.policy_changes(ROOMS_PER_TURN_MAX).await?;
            let mut has_moved = false;
            for change in changes {
                if batches == BATCHES_PER_PASS_MAX || self.drain.has_begun() {
                    return Ok(Passed {
                        batches,
                        is_done: false,
                    });
                }
                match self.rooms.follow_policy(change).await {
                    Ok(()) => {
                        has_moved = true;
                        batches += 1;
                    }
                    // The other rooms' messages do not wait for this room's.
                    Err(error) => {
                        tracing::error!(%error, "a room's messages could not follow its policy");
                    }
                }
            }
            if !has_moved {
                return Ok(Passed {
                    batches,
                    is_done: true,
                });
            }
        }
    }

    /// The time by which content is destroyed; tells the operator if the clock is not believed.
    fn now_ms(&mut self) -> i64 {
        let context = &self.rooms.context;
        let reading = context.store.expiry_time(&*context.clock);
        if reading.has_jumped && !self.has_jumped {
            tracing::error!(
                "the clock has jumped forward: what expires by it is hidden, but not destroyed. \
                 Set it right; if it is right, restart the server"
            );
        }
        self.has_jumped = reading.has_jumped;
        i64::try_from(reading.destroy_now_ms).unwrap_or(i64::MAX)
    }

    async fn destroy(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let store = Arc::clone(&self.rooms.context.store);
        let change = DestroyExpired {
            now_ms,
            limit: DESTROYED_PER_CHANGE_MAX,
        };
        while !self.drain.has_begun() {
            let destroyed = store.commit(change).await?.output;
            let Some(oldest_ms) = destroyed.oldest_ms else {
                break;
            };
            store.note_residue();
            store.expiry_meter().count_destroyed(destroyed.events.len());
            store.forget_events(destroyed.events.iter().map(|id| &**id));
            let since_ms = self.residue_since_ms.unwrap_or(oldest_ms);
            self.residue_since_ms = Some(since_ms.min(oldest_ms));
            self.mark(now_ms).await?;
            if destroyed.events.len() as u64 != DESTROYED_PER_CHANGE_MAX {
                break;
            }
        }
        Ok(())
    }

    async fn mark(&mut self, now_ms: i64) -> Result<(), StoreError> {
        if now_ms > self.marked_ms {
            let mark = SaveExpiryClock {
                high_water_ms: now_ms,
            };
            self.rooms.context.store.commit(mark).await?;
            self.marked_ms = now_ms;
        }
        Ok(())
    }

    /// Empties the write-ahead log if it may hold what was deleted, and tells of the lag.
    async fn clear_residue(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let store = &self.rooms.context.store;
        if !store.take_residue() {
            return Ok(());
        }
        let since_ms = *self.residue_since_ms.get_or_insert(now_ms);
        let outcome = store.checkpoint().await;
        let is_clear = matches!(outcome, Ok(true));
        if is_clear {
            self.residue_since_ms = None;
        } else {
            store.note_residue();
        }
        let lag_ms = now_ms.saturating_sub(since_ms);
        if lag_ms > LAG_MS_MAX {
            tracing::error!(
                lag_ms,
                is_clear,
                "expired content was still on disk longer than promised"
            );
        }
        outcome.map(|_| ())
    }
}

impl Rooms {
    /// Moves the deadlines of one batch of a room's messages, as its policy now says.
    async fn follow_policy(&self, change: PolicyChange) -> Result<(), StoreError> {
        let store = self.store();
        let limit = SHORTENED_PER_CHANGE_MAX;
        let events = store
            .living_messages(&change.room_id, change.through, limit)
            .await?;
        let deadlines = match self.snapshot(&change.room_id).await? {
            Some(snapshot) => {
                let now = self.policy_at(&snapshot.state).await?;
                self.shortened(&events, now.as_ref(), change.changed_ms)
                    .await?
            }
            None => Vec::new(),
        };
        let last = events.last().and_then(|event| event.room_order);
        let batch = ShortenDeadlines {
            is_last: (events.len() as u64) < limit,
            deadlines: deadlines
                .into_iter()
                .map(|(id, deadline)| stored(id, deadline))
                .collect(),
            change: PolicyChange {
                through: last.unwrap_or(change.through),
                ..change
            },
        };
        store.commit(batch.clone()).await?;
        store.forget_events(batch.deadlines.iter().map(|new| &*new.event_id));
        Ok(())
    }

    /// Those deadlines that a policy moves earlier.
    async fn shortened(
        &self,
        events: &[Arc<Event>],
        now: Option<&Policy>,
        changed_ms: i64,
    ) -> Result<Vec<(OwnedEventId, Deadline)>, StoreError> {
        let changed_ms = u64::try_from(changed_ms).unwrap_or(0);
        let mut policies: HashMap<i64, Option<Policy>> = HashMap::new();
        let mut known = self.targets(events).await?;
        let mut moved = Vec::new();
        for event in events {
            let (true, Some(group)) = (expiry::may_expire(&event.pdu), event.state_before) else {
                continue;
            };
            if let std::collections::hash_map::Entry::Vacant(place) = policies.entry(group) {
                let state = self.store().state_at(group).await?;
                place.insert(self.policy_at(&state).await?);
            }
            let at = policies.get(&group).and_then(Option::as_ref);
            let before = deadline_of(event);
            let facts = facts_of(&event.pdu, event.received_ts);
            let own = expiry::shorten(before, &facts, at, now, changed_ms);
            let target = expiry::inherits_from(&event.pdu.content);
            let target = target.and_then(|id| known.get(&id).copied());
            let Some(deadline) = expiry::inherit(own, target) else {
                continue;
            };
            // Targets come before what relates to them, so these find the moved ones.
            known.insert(event.id().to_owned(), deadline);
            if before != Some(deadline) {
                moved.push((event.id().to_owned(), deadline));
            }
        }
        Ok(moved)
    }

    /// The stored deadlines of what events inherit from.
    async fn targets(
        &self,
        events: &[Arc<Event>],
    ) -> Result<HashMap<OwnedEventId, Deadline>, StoreError> {
        let ids: Vec<_> = events
            .iter()
            .filter_map(|event| expiry::inherits_from(&event.pdu.content))
            .collect();
        let found = self.store().events(&ids).await?;
        Ok(found
            .iter()
            .filter_map(|event| Some((event.id().to_owned(), deadline_of(event)?)))
            .collect())
    }

    /// The policy of a state.
    pub(super) async fn policy_at(
        &self,
        state: &crate::store::RoomStateMap,
    ) -> Result<Option<Policy>, StoreError> {
        let ids = policy_ids(state);
        let found = self.store().events(&ids.all()).await?;
        Ok(ids.policy(|id| {
            let event = found.iter().find(|event| event.id() == id)?;
            Some(Arc::clone(&event.pdu))
        }))
    }
}

#[cfg(test)]
mod tests;
