//! The event closest to a time: among those held, and from peers if a gap of the history lies closer.
//!
//! Invariant: what is answered is held, placed in the timeline, and visible to whoever asks. Peers are asked once, history is
//! fetched in few steps, and all of it within one limit of time.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event>

use std::{sync::Arc, time::Duration};

use ruma::{
    MilliSecondsSinceUnixEpoch, RoomId, ServerName, UserId,
    api::{Direction, federation::event::get_event_by_timestamp::v1 as get_event_by_timestamp},
};

use super::{ReceiveError, Rooms, ServeError, Snapshot};
use crate::{
    clock::within,
    outbound::Bounds,
    store::{self, Event, StoreError},
};

/// Events that are looked at in one query.
const PAGE: u64 = 50;
/// Pages that are looked at for one that may be seen.
const PAGES_MAX: u64 = 10;
/// How often history is fetched for one answer.
const FETCHES_MAX: usize = 10;
/// Events that are fetched at once.
const FETCHED: u32 = 100;
/// Peers that are asked.
const PEERS_MAX: usize = 3;
/// How long peers may take altogether.
const PEERS_TIMEOUT: Duration = Duration::from_secs(20);

/// A moment, and on which side of it to look.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time.
    pub ts: MilliSecondsSinceUnixEpoch,
    /// Forward for what came then or later, backward for what came then or earlier.
    pub direction: Direction,
}

impl Moment {
    fn ts(self) -> i64 {
        self.ts.get().into()
    }

    fn side(self) -> store::Direction {
        match self.direction {
            Direction::Forward => store::Direction::Forward,
            Direction::Backward => store::Direction::Backward,
        }
    }

    /// Whether a time is closer than another, on the right side.
    fn is_closer(self, time: MilliSecondsSinceUnixEpoch, than: Option<&Arc<Event>>) -> bool {
        let than = than.map(|event| event.pdu.origin_server_ts);
        match self.direction {
            Direction::Forward => time >= self.ts && than.is_none_or(|than| time < than),
            Direction::Backward => time <= self.ts && than.is_none_or(|than| time > than),
        }
    }
}

impl Rooms {
    /// The event closest to a moment that a user may see, of a room that they may read.
    ///
    /// # Errors
    /// What the database says; peers that do not answer have nothing.
    pub async fn closest_to(
        self: &Arc<Self>,
        user: &UserId,
        snapshot: &Snapshot,
        moment: Moment,
    ) -> Result<Option<Arc<Event>>, StoreError> {
        let found = self.closest_held(user, &snapshot.room_id, moment).await?;
        if !self.is_beside_gap(&snapshot.room_id, moment).await? {
            return Ok(found);
        }
        let clock = &*self.context.clock;
        let fetched = self.fetch_closer(snapshot, moment, found.as_ref());
        match within(clock, PEERS_TIMEOUT, fetched).await {
            Ok(Ok(false)) => Ok(found),
            Ok(Err(ReceiveError::Storage)) => Err(StoreError::Closed),
            // What came until then is held.
            _ => self.closest_held(user, &snapshot.room_id, moment).await,
        }
    }

    /// The event closest to a moment that a server may see.
    ///
    /// # Errors
    /// [`ServeError::Forbidden`] for a server that is not in the room; [`ServeError::Unknown`] if there is no such event.
    pub async fn closest_for(
        &self,
        server: &ServerName,
        room: &RoomId,
        moment: Moment,
    ) -> Result<Arc<Event>, ServeError> {
        let snapshot = self.room_for(server, room).await?;
        let store = self.store();
        for page in 0..PAGES_MAX {
            let events = store.events_by_time(room, moment.ts(), moment.side(), page * PAGE, PAGE);
            let events = events.await?;
            let is_last = events.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for event in events {
                if self.server_sees(server, &snapshot, &event).await? {
                    return Ok(event);
                }
            }
            if is_last {
                break;
            }
        }
        Err(ServeError::Unknown)
    }

    async fn closest_held(
        &self,
        user: &UserId,
        room: &RoomId,
        moment: Moment,
    ) -> Result<Option<Arc<Event>>, StoreError> {
        let (store, standing) = (self.store(), self.standing(room, user).await?);
        for page in 0..PAGES_MAX {
            let events = store.events_by_time(room, moment.ts(), moment.side(), page * PAGE, PAGE);
            let events = events.await?;
            let is_last = events.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            let seen = self.visible_to(user, &standing, events).await?;
            if let Some(event) = seen.into_iter().next() {
                return Ok(Some(event));
            }
            if is_last {
                break;
            }
        }
        Ok(None)
    }

    /// Whether history is missing between a moment and the held event that is closest to it: whether the later one of the two
    /// that surround the moment, or the gap itself, refers to what is not held.
    async fn is_beside_gap(&self, room: &RoomId, moment: Moment) -> Result<bool, StoreError> {
        let store = self.store();
        let gaps = store.missing_events(room).await?;
        if gaps.is_empty() {
            return Ok(false);
        }
        let at_or_after = match moment.direction {
            Direction::Forward => moment.ts(),
            Direction::Backward => moment.ts().saturating_add(1),
        };
        let next = store.events_by_time(room, at_or_after, store::Direction::Forward, 0, 1);
        let next = next.await?;
        let cites_gap = |event: &Arc<Event>| {
            let mut before = event.pdu.prev_events.iter();
            before.any(|id| gaps.contains(id))
        };
        Ok(next.first().is_some_and(cites_gap) || self.is_before_all(room, moment).await?)
    }

    /// Whether nothing that is held came at or before a moment.
    async fn is_before_all(&self, room: &RoomId, moment: Moment) -> Result<bool, StoreError> {
        let before = store::Direction::Backward;
        let held = self.store().events_by_time(room, moment.ts(), before, 0, 1);
        Ok(held.await?.is_empty())
    }

    /// Fetches history until an event is held that peers say is closer than `found`; answers whether anything came.
    async fn fetch_closer(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        moment: Moment,
        found: Option<&Arc<Event>>,
    ) -> Result<bool, ReceiveError> {
        let room = &snapshot.room_id;
        let others = snapshot.members.servers.keys();
        let others = others.filter(|server| **server != self.context.server_name);
        for server in others.take(PEERS_MAX) {
            let request =
                get_event_by_timestamp::Request::new(room.clone(), moment.ts, moment.direction);
            let remote = &self.context.remote;
            let Ok(closest) = remote.call(server, request, Bounds::INTERACTIVE).await else {
                continue;
            };
            if !moment.is_closer(closest.origin_server_ts, found) {
                continue;
            }
            let mut has_come = false;
            for _ in 0..FETCHES_MAX {
                let held = self.store().event(&closest.event_id).await?;
                if held.is_some_and(|event| event.room_order.is_some()) {
                    return Ok(true);
                }
                if !self.backfill(room, FETCHED).await? {
                    break;
                }
                has_come = true;
            }
            return Ok(has_come);
        }
        Ok(false)
    }
}
