//! A remote event: the specification's checks, in the specification's order.
//!
//! Invariant: an event is stored only if its format and signatures hold, and is judged only when
//! its auth events are held; what is missing is asked for within [`Budget`], and then for a while
//! never again for this event. One bad event stops no other.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::sync::Arc;

use passeur_protocol::{
    json::JsonError,
    reason::Reason,
    signed::{RawPdu, SignedPdu, WellFormedPdu},
};
use ruma::{OwnedEventId, RoomId, ServerName, room_version_rules::RoomVersionRules};
use serde_json::value::RawValue;

use super::{Offer, Rooms, SendError, Snapshot, queue::Work};
use crate::store::{EventStatus, LogKind, StoreError};

/// Events that one event may make us fetch.
const FETCHED_MAX: usize = 1_000;
/// Requests to peers that one event may make.
const REQUESTS_MAX: usize = 60;

/// Why a peer's event was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReceiveError {
    /// This server is not in the room.
    #[error("this server is not in the room")]
    UnknownRoom,
    /// The room's access control list names the peer.
    #[error("the server is not allowed in this room")]
    Denied,
    /// It is no JSON that an event may be.
    #[error("malformed: {0}")]
    Json(#[from] JsonError),
    /// Its format or signatures are wrong; the check that failed.
    #[error("dropped: {0}")]
    Dropped(Reason),
    /// It belongs to another room than the request says, or to none.
    #[error("the event belongs to another room")]
    OtherRoom,
    /// The room's rules do not allow it.
    #[error("rejected")]
    Rejected,
    /// What it refers to cannot be had now.
    #[error("the events that it refers to cannot be had")]
    Unplaced,
    /// The database failed; it was logged.
    #[error("storage")]
    Storage,
    /// What the database holds of it cannot be read; it was logged, and trying again does not help.
    #[error("damaged")]
    Damaged,
    /// More is under way in the room than can be done at once.
    #[error("too busy")]
    Busy,
}

impl ReceiveError {
    /// What the peer is told that sent the event: more than may be logged.
    pub fn told(&self) -> String {
        match self {
            Self::Dropped(reason) => format!("{self}: {}", reason.detail()),
            _ => self.to_string(),
        }
    }

    /// Whether it is no word on the event: given again, the event may be taken.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Storage | Self::Busy)
    }
}

impl From<StoreError> for ReceiveError {
    fn from(error: StoreError) -> Self {
        SendError::from(error).into()
    }
}

impl From<SendError> for ReceiveError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Storage => Self::Storage,
            SendError::Damaged => Self::Damaged,
            SendError::Busy => Self::Busy,
            SendError::UnknownRoom => Self::UnknownRoom,
            SendError::Unplaced => Self::Unplaced,
            _ => Self::Rejected,
        }
    }
}

/// Events that came with one event and that the room's policy server does not recommend, or is not there to judge.
const UNRECOMMENDED_MAX: usize = 5;

/// What may still be asked of peers for the sake of one event.
#[derive(Debug)]
pub(super) struct Budget {
    /// Events.
    pub(super) events: usize,
    /// Requests.
    pub(super) requests: usize,
    /// Events that the room's policy server may fail to recommend before it is asked about no more of them.
    pub(super) unrecommended: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            events: FETCHED_MAX,
            requests: REQUESTS_MAX,
            unrecommended: UNRECOMMENDED_MAX,
        }
    }
}

impl Budget {
    /// Takes one request, if there is one left.
    pub(super) fn request(&mut self) -> Result<(), ReceiveError> {
        self.requests = self.requests.checked_sub(1).ok_or(ReceiveError::Unplaced)?;
        Ok(())
    }

    /// Takes events, if there are so many left.
    pub(super) fn take(&mut self, events: usize) -> Result<(), ReceiveError> {
        self.events = self
            .events
            .checked_sub(events)
            .ok_or(ReceiveError::Unplaced)?;
        Ok(())
    }
}

impl Rooms {
    /// Takes one event that a peer sends for a room.
    ///
    /// # Errors
    /// See [`ReceiveError`]; a soft-failed event is no error.
    pub async fn receive(
        self: &Arc<Self>,
        origin: &ServerName,
        room: &RoomId,
        pdu: &RawValue,
    ) -> Result<OwnedEventId, ReceiveError> {
        let snapshot = self.snapshot(room).await?;
        let resident = snapshot.filter(|snapshot| !snapshot.members.local_joined.is_empty());
        let Some(snapshot) = resident else {
            return self.receive_outside(origin, room, pdu).await;
        };
        if !self.may_take_part(&snapshot, origin).await? {
            return Err(ReceiveError::Denied);
        }
        let signed = self.verify(pdu, snapshot.rules).await?;
        if signed.pdu().room_id != room {
            return Err(ReceiveError::OtherRoom);
        }
        let pdu = Arc::clone(signed.pdu());
        if self.is_orphan(origin, &pdu).await? {
            return Err(ReceiveError::Unplaced);
        }
        let (log, mut budget) = (LogKind::Event, Budget::default());
        let outcome = self.settle(origin, &snapshot, signed, log, &mut budget);
        let outcome = outcome.await;
        self.note_orphan(origin, &pdu, &outcome);
        outcome
    }

    /// Checks 1 to 3: format, signatures, hash.
    pub(super) async fn verify(
        &self,
        pdu: &RawValue,
        rules: &RoomVersionRules,
    ) -> Result<SignedPdu, ReceiveError> {
        let well_formed = RawPdu::parse(pdu.get().as_bytes())?
            .check_format(rules)
            .map_err(ReceiveError::Dropped)?;
        self.verify_formed(well_formed, rules).await
    }

    /// Checks 2 and 3: signatures, hash.
    pub(super) async fn verify_formed(
        &self,
        well_formed: WellFormedPdu,
        rules: &RoomVersionRules,
    ) -> Result<SignedPdu, ReceiveError> {
        let required = well_formed
            .required_keys(rules)
            .map_err(ReceiveError::Dropped)?;
        let keys = self
            .context
            .server_keys
            .keys_for(&required.servers, required.valid_at)
            .await?;
        well_formed
            .verify(&keys, rules)
            .map_err(ReceiveError::Dropped)
    }

    /// Fetches what an event refers to, and offers it to the room.
    pub(super) async fn settle(
        self: &Arc<Self>,
        origin: &ServerName,
        snapshot: &Snapshot,
        signed: SignedPdu,
        log: LogKind,
        budget: &mut Budget,
    ) -> Result<OwnedEventId, ReceiveError> {
        let pdu = Arc::clone(signed.pdu());
        if let Some(held) = self.context.store.event(&pdu.event_id).await? {
            match held.status {
                EventStatus::Rejected => return Err(ReceiveError::Rejected),
                EventStatus::Accepted | EventStatus::SoftFailed => return Ok(pdu.event_id.clone()),
                EventStatus::Outlier => {}
            }
        }
        // What authorises an event is often what came just before it, so that both are missing at once.
        let mut missing = self.missing(&pdu.room_id, &pdu.prev_events).await?;
        if !missing.is_empty() {
            self.fetch_missing(origin, snapshot, &pdu, budget).await?;
            missing = self.missing(&pdu.room_id, &pdu.prev_events).await?;
        }
        self.fetch_auth_events(origin, snapshot, &signed, budget)
            .await?;
        let state_before = if missing.is_empty() {
            None
        } else {
            Some(self.fetch_state(origin, snapshot, &pdu, budget).await?)
        };
        let offer = Offer {
            signed: self.with_recommendation(snapshot, signed).await?,
            log,
            state_before,
            missing,
        };
        let work = Work::Offer(Arc::new(offer));
        Ok(self.enqueue(pdu.room_id.clone(), work).await?)
    }

    /// Those of an event's predecessors whose place in the graph is not known.
    ///
    /// # Errors
    /// [`ReceiveError::OtherRoom`] if one of them is an event of another room: the state after it
    /// is that room's.
    pub(super) async fn missing(
        &self,
        room: &RoomId,
        ids: &[OwnedEventId],
    ) -> Result<Vec<OwnedEventId>, ReceiveError> {
        let held = self.context.store.events(ids).await?;
        if held.iter().any(|event| event.pdu.room_id != room) {
            return Err(ReceiveError::OtherRoom);
        }
        let placed = |id: &OwnedEventId| {
            held.iter()
                .any(|event| event.id() == id && event.state_after.is_some())
        };
        Ok(ids.iter().filter(|id| !placed(id)).cloned().collect())
    }
}
