//! A room's history from peers, when somebody pages beyond what is held.
//!
//! Invariant: backfilled events get room orders below the oldest held of their stay, and no position: they are
//! history, not news. They are verified like any event, and judged by their auth events and the
//! state before them; the room's current state has no say in them, nor they in it. Only what the
//! gaps of the room lead to is history.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#backfilling>

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use passeur_protocol::{
    check::Verdict,
    signed::{RawPdu, SignedPdu},
};
use ruma::{
    OwnedEventId, OwnedServerName, RoomId, ServerName,
    api::federation::backfill::get_backfill::v1 as get_backfill,
};
use serde_json::value::RawValue;

use super::{
    Offer, ReceiveError, Rooms, SendError, Snapshot,
    absence::stay_of,
    chain::Chain,
    order::{leading_to, predecessors_first},
    receive::Budget,
};
use crate::store::{EventStatus, LogKind, RoomAppend, RoomStateMap};

/// Servers that are asked for history.
const SERVERS_MAX: usize = 3;
/// Gaps that one request asks for: their ids must fit into a URL.
const GAPS_MAX: usize = 20;
/// How often other gaps are asked for because nobody had anything of those before.
const ROUNDS_MAX: usize = 5;
/// Events of one answer that are looked at.
const EVENTS_MAX: usize = 500;
/// States that peers are asked for to place the events of one answer: as many as the widest fork where the answer ends, of
/// which every branch needs one of its own, or all that lies above it cannot be placed.
const STATES_MAX: usize = 20;

/// What came of an answer.
enum Filled {
    /// Events that were not in the timeline before.
    Some,
    /// The events asked for were, or are not among it.
    Nothing,
    /// Events, but not what is needed to judge them.
    Unplaced,
}

impl Rooms {
    /// Fetches about `limit` events of what is missing before the newest stay that something is missing before; answers whether
    /// any came.
    ///
    /// # Errors
    /// What the database says; peers that do not answer have nothing.
    pub async fn backfill(
        self: &Arc<Self>,
        room: &RoomId,
        limit: u32,
    ) -> Result<bool, ReceiveError> {
        let Some(snapshot) = self.snapshot(room).await? else {
            return Ok(false);
        };
        for stay in Self::stays(&snapshot) {
            if self.backfill_before(room, stay, limit).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Fetches about `limit` events of what is missing before a stay; answers whether any came.
    ///
    /// # Errors
    /// As [`Rooms::backfill`].
    pub async fn backfill_before(
        self: &Arc<Self>,
        room: &RoomId,
        stay: i64,
        limit: u32,
    ) -> Result<bool, ReceiveError> {
        for _ in 0..ROUNDS_MAX {
            let Some(snapshot) = self.snapshot(room).await? else {
                return Ok(false);
            };
            let missing = self.context.store.missing_events(room).await?;
            if missing.is_empty() {
                return Ok(false);
            }
            let mut gaps = self.gaps_before(&snapshot, stay, missing).await?;
            gaps.truncate(GAPS_MAX);
            if gaps.is_empty() || snapshot.members.local_joined.is_empty() {
                return Ok(false);
            }
            match self.fill(&snapshot, stay, &gaps, limit).await? {
                Filled::Some => return Ok(true),
                Filled::Unplaced => return Ok(false),
                Filled::Nothing => self.give_up(room, gaps).await?,
            }
        }
        Ok(false)
    }

    /// Asks server after server for what lies before some gaps, until one has something.
    async fn fill(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        stay: i64,
        gaps: &[OwnedEventId],
        limit: u32,
    ) -> Result<Filled, ReceiveError> {
        let servers = self.others_in(snapshot);
        let mut nobody_has_it = !servers.is_empty();
        for server in servers {
            let room = snapshot.room_id.clone();
            let request = get_backfill::Request::new(room, gaps.to_vec(), limit.into());
            let bounds = self.context.remote.large();
            let Ok(answer) = self.context.remote.call(&server, request, bounds).await else {
                nobody_has_it = false;
                continue;
            };
            let some = answer.pdus.get(..EVENTS_MAX).unwrap_or(&answer.pdus);
            let events = self.verify_history(snapshot, some).await;
            let known = self.known_before(snapshot, &events).await?;
            let events = leading_to(gaps, events, &known);
            match self.take_history(&server, snapshot, stay, events).await? {
                Filled::Some => return Ok(Filled::Some),
                Filled::Unplaced => nobody_has_it = false,
                Filled::Nothing => {}
            }
        }
        Ok(match nobody_has_it {
            true => Filled::Nothing,
            false => Filled::Unplaced,
        })
    }

    /// Those of the events that have their place: what lies before them belongs to an earlier stay, if there was one.
    async fn known_before(
        &self,
        snapshot: &Snapshot,
        events: &[SignedPdu],
    ) -> Result<HashSet<OwnedEventId>, ReceiveError> {
        if stay_of(snapshot.order_max) == 0 {
            return Ok(HashSet::new());
        }
        let ids: Vec<OwnedEventId> = events
            .iter()
            .map(|signed| signed.pdu().event_id.clone())
            .collect();
        let held = self.context.store.events(&ids).await?;
        let placed = held.iter().filter(|event| event.room_order.is_some());
        Ok(placed.map(|event| event.id().to_owned()).collect())
    }

    /// Those events of an answer that hold and belong to the room, however many others they cite.
    async fn verify_history(
        &self,
        snapshot: &Snapshot,
        events: &[Box<RawValue>],
    ) -> Vec<SignedPdu> {
        let mut verified = Vec::with_capacity(events.len());
        for event in events {
            let read = RawPdu::parse(event.get().as_bytes()).ok();
            let formed = read.and_then(|raw| raw.check_format_of_history(snapshot.rules).ok());
            let Some(formed) = formed.filter(|formed| formed.pdu().room_id == snapshot.room_id)
            else {
                continue;
            };
            verified.extend(self.verify_formed(formed, snapshot.rules).await.ok());
        }
        verified
    }

    /// Asks for these events no more: whoever named them as predecessors may have made them up.
    async fn give_up(&self, room: &RoomId, gaps: Vec<OwnedEventId>) -> Result<(), ReceiveError> {
        let append = RoomAppend {
            room_id: Some(room.to_owned()),
            found: gaps,
            ..RoomAppend::default()
        };
        // Without a room's row there is no tip to be checked.
        let _ = self.context.store.commit(append).await?;
        Ok(())
    }

    fn others_in(&self, snapshot: &Snapshot) -> Vec<OwnedServerName> {
        let servers = snapshot.members.servers.keys();
        let others = servers.filter(|server| **server != self.context.server_name);
        others.take(SERVERS_MAX).cloned().collect()
    }

    /// Stores history below the oldest event of a stay.
    async fn take_history(
        self: &Arc<Self>,
        server: &ServerName,
        snapshot: &Snapshot,
        stay: i64,
        events: Vec<SignedPdu>,
    ) -> Result<Filled, ReceiveError> {
        if events.is_empty() {
            return Ok(Filled::Nothing);
        }
        let mut placed: BTreeSet<OwnedEventId> = BTreeSet::new();
        let mut offers: Vec<Offer> = Vec::with_capacity(events.len());
        let mut budget = Budget::default();
        let mut states = STATES_MAX;
        for signed in predecessors_first(events) {
            let id = signed.pdu().event_id.clone();
            let offered = self
                .place_history(server, snapshot, signed, &placed, &mut states, &mut budget)
                .await;
            match offered {
                Ok(offer) => {
                    placed.insert(id);
                    offers.push(offer);
                }
                Err(error @ (ReceiveError::Storage | ReceiveError::Damaged)) => return Err(error),
                Err(_) => {}
            }
        }
        match offers.is_empty() {
            true => Ok(Filled::Unplaced),
            false => self.append_history(snapshot, stay, &offers).await,
        }
    }

    /// Fetches what an event of the past refers to. The state before it is asked for only where
    /// neither the database nor the answer has its predecessors.
    async fn place_history(
        self: &Arc<Self>,
        server: &ServerName,
        snapshot: &Snapshot,
        signed: SignedPdu,
        placed: &BTreeSet<OwnedEventId>,
        states: &mut usize,
        budget: &mut Budget,
    ) -> Result<Offer, ReceiveError> {
        self.fetch_auth_events(server, snapshot, &signed, budget)
            .await?;
        let pdu = signed.pdu();
        let mut missing = self.missing(&snapshot.room_id, &pdu.prev_events).await?;
        missing.retain(|id| !placed.contains(id));
        let state_before = if pdu.prev_events.is_empty() {
            // Before a room's first event there is none.
            Some(RoomStateMap::default())
        } else if missing.is_empty() {
            None
        } else {
            *states = states.checked_sub(1).ok_or(ReceiveError::Unplaced)?;
            Some(self.fetch_state(server, snapshot, pdu, budget).await?)
        };
        Ok(Offer {
            signed,
            log: LogKind::Event,
            state_before,
            missing,
        })
    }

    /// Appends history to the room, judged, each accepted event one room order below the one after.
    async fn append_history(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        stay: i64,
        offers: &[Offer],
    ) -> Result<Filled, ReceiveError> {
        let _turn = self.history.lock().await;
        let current = self
            .snapshot(&snapshot.room_id)
            .await?
            .ok_or(ReceiveError::UnknownRoom)?;
        let mut chain = Chain::on(&self.context, &current);
        let mut row = current.row.clone();
        // Oldest first, since what relates to an event expires with it at the latest.
        for offer in offers {
            match chain.add_history(offer).await {
                Err(error @ (SendError::Storage | SendError::Damaged)) => return Err(error.into()),
                // What cannot be placed stays a gap.
                Err(_) => {}
                Ok(()) => {
                    let id = &offer.signed.pdu().event_id;
                    chain.append.found.push(id.clone());
                }
            }
        }
        let mut is_new = false;
        let lowest = match stay {
            0 => None,
            _ => self.lowest_of(&snapshot.room_id, stay).await?,
        };
        let mut lowest = lowest.unwrap_or(row.order_min);
        for added in chain.append.events.iter_mut().rev() {
            if let Some(order) = &mut added.event.room_order {
                lowest -= 1;
                *order = lowest;
                is_new = true;
            }
        }
        row.order_min = row.order_min.min(lowest);
        row.tip += 1;
        chain.room = Some(row);
        // If the room moved meanwhile, the client asks again.
        let is_committed = self.commit(chain).await?.is_ok();
        Ok(match is_new && is_committed {
            true => Filled::Some,
            false if is_committed => Filled::Nothing,
            false => Filled::Unplaced,
        })
    }
}

impl Chain<'_> {
    /// Judges an event of the past by what it cites and by the state before it, and takes it in
    /// without moving what is newest.
    async fn add_history(&mut self, offer: &Offer) -> Result<(), SendError> {
        let pdu = Arc::clone(offer.signed.pdu());
        let held = self.event(&pdu.event_id).await?;
        let is_placed = |status| status != EventStatus::Outlier;
        if held.as_ref().is_some_and(|held| is_placed(held.status)) {
            return Ok(());
        }
        let before = self.place(offer).await?;
        let verdict = self.judge(&pdu, &before.state, &before.state).await?;
        if let Verdict::Rejected(_) | Verdict::Dropped(_) = verdict {
            let status = EventStatus::Rejected;
            return self
                .keep_aside(offer, before, status, held.as_deref())
                .await;
        }
        let after = self.state_after(&pdu, &before);
        let (before, after) = (Some(before.group), Some(after.group));
        let event = self
            .new_event(&offer.signed, EventStatus::Accepted, before, after)
            .await?;
        let mut event = self.over_outlier(event, held.as_deref())?;
        // Which place it gets is known when all of them are there.
        event.room_order = self.is_shown(&pdu).await?.then_some(i64::MIN);
        self.push(event, None, held.is_some());
        self.append.missing.extend(offer.missing.iter().cloned());
        self.apply_redactions(&pdu).await?;
        Ok(())
    }
}
