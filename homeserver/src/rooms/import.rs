//! Taking a room in that another server answered to a join.
//!
//! Invariant: the room exists here only once every event of the answer has been verified and judged;
//! what was rejected before stays rejected.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::{collections::HashSet, sync::Arc};

use passeur_protocol::{check, signed::SignedPdu};
use ruma::{EventId, OwnedEventId, RoomId, RoomVersionId, ServerName, events::StateEventType};
use serde_json::value::RawValue;

use super::{
    JoinError, Members, Offer, ReceiveError, Rooms, SendError, Snapshot, absence::next_stay,
    chain::Chain, join::rules_of, receive::Budget,
};
use crate::store::{
    Event, EventStatus, LogKind, Moved, NewEvent, RoomRow, RoomStateMap, StateChange, StateKey,
    StoreError, difference,
};

/// How often an answer is taken in anew because the room came here by another join meanwhile.
const TRIES_MAX: usize = 4;

/// What a peer answered to our join.
pub(super) struct Import<'a> {
    /// The room.
    pub(super) room: &'a RoomId,
    /// Its version.
    pub(super) version: RoomVersionId,
    /// Our join, signed by all who must.
    pub(super) join: SignedPdu,
    /// The auth chain of the state and of the join.
    pub(super) auth_chain: &'a [Box<RawValue>],
    /// The state before the join.
    pub(super) state: &'a [Box<RawValue>],
}

impl Rooms {
    /// Takes in what `send_join` answered: a room, or no more than our join if this server is in the
    /// room already.
    pub(super) async fn take_in(
        self: &Arc<Self>,
        server: &ServerName,
        import: Import<'_>,
    ) -> Result<(), JoinError> {
        let room = import.room;
        let join = import.join.clone();
        for _ in 0..TRIES_MAX {
            let resident = self.snapshot(room).await?;
            let resident = resident.filter(|snapshot| !snapshot.members.local_joined.is_empty());
            if let Some(snapshot) = resident {
                let mut budget = Budget::default();
                let log = LogKind::Event;
                return match self.settle(server, &snapshot, join, log, &mut budget).await {
                    Ok(_) => Ok(()),
                    Err(ReceiveError::Storage) => Err(SendError::Storage.into()),
                    Err(_) => Err(JoinError::BadAnswer),
                };
            }
            // Somebody else of ours may be coming into the room as well.
            if let Ok(()) = self.import(&import).await? {
                return Ok(());
            }
            self.snapshots.remove(room);
        }
        Err(SendError::Busy.into())
    }

    /// Takes a room in: its state and auth chain as outliers, our join as the newest event.
    async fn import(self: &Arc<Self>, import: &Import<'_>) -> Result<Result<(), Moved>, JoinError> {
        let Import {
            room,
            version,
            join,
            ..
        } = import;
        let rules = rules_of(version)?;
        let existing = self.snapshot(room).await?;
        let base = match &existing {
            Some(snapshot) => Arc::clone(snapshot),
            None => {
                let empty = empty_snapshot(room, version);
                Arc::new(empty.ok_or_else(|| JoinError::UnsupportedVersion(version.clone()))?)
            }
        };
        let mut events = self.verify_all(&base, import.auth_chain).await;
        let state = self.verify_all(&base, import.state).await;
        // What the template said of the version binds nobody; the room itself does, for all who are in it.
        if state
            .iter()
            .any(|signed| signed.creates_other_than(version))
        {
            return Err(JoinError::BadAnswer);
        }
        let places: Vec<_> = state
            .iter()
            .filter_map(|signed| Some((signed.pdu().state_place()?, signed.pdu().event_id.clone())))
            .collect();
        events.extend(state);
        let mut outliers = self.judge_outliers(&base, events).await?;
        let mut seen = HashSet::new();
        outliers.retain(|event| seen.insert(event.id().to_owned()));
        let state = self.allowed_state(places, &outliers).await?;
        if !state.contains_key(&(StateEventType::RoomCreate, String::new())) {
            return Err(JoinError::BadAnswer);
        }

        let mut chain = Chain::on(&self.context, &base);
        chain.append.expected_tip = existing.as_ref().map(|snapshot| snapshot.tip);
        for event in outliers {
            chain
                .built
                .insert(event.id().to_owned(), Arc::new(event.clone()));
            let outlier = NewEvent {
                event,
                log: None,
                relation: None,
                promoted: false,
            };
            chain.append.events.push(outlier);
        }
        let needs = check::needs(join.pdu(), rules).map_err(|_| JoinError::BadAnswer)?;
        let found = chain.events(&needs.events).await?;
        let checked = check::check_auth_events(join.pdu(), rules, |id| found.get(id).cloned());
        if !matches!(checked, Ok(Ok(()))) {
            return Err(JoinError::BadAnswer);
        }
        chain.begin_from(state, join).await?;
        chain.settle_members().await?;
        Ok(self.commit(chain).await?)
    }

    /// Those places of a state whose events are held, now or from before, and were not rejected: a
    /// rejected event stays rejected, whoever says that it is state.
    async fn allowed_state(
        &self,
        places: Vec<(StateKey, OwnedEventId)>,
        outliers: &[Event],
    ) -> Result<RoomStateMap, StoreError> {
        let ids: Vec<OwnedEventId> = places.iter().map(|(_, id)| id.clone()).collect();
        let held = self.context.store.events(&ids).await?;
        let known = outliers.iter().chain(held.iter().map(|event| &**event));
        let allowed: HashSet<&EventId> = known
            .filter(|event| event.status != EventStatus::Rejected)
            .map(|event| event.id())
            .collect();
        Ok(places
            .into_iter()
            .filter(|(_, id)| allowed.contains(&**id))
            .collect())
    }
}

impl Chain<'_> {
    /// Puts a state that peers gave in place of what was known, and our join on top of it.
    async fn begin_from(&mut self, state: RoomStateMap, join: &SignedPdu) -> Result<(), JoinError> {
        let changes = difference(&self.state, &state);
        let path = self.path.clone();
        let before = self.new_group(&path, state, changes.clone());
        let Some(mut room) = self.room.clone() else {
            return Err(JoinError::BadAnswer);
        };
        // Nothing of an earlier stay is a predecessor of the join: its timeline ends in a gap.
        room.extremities = join.pdu().prev_events.clone();
        room.tip += 1;
        if room.order_max > 0 {
            // What happened meanwhile has its place between the stays.
            room.order_max = next_stay(room.order_max);
        }
        self.room = Some(room);
        self.move_state(before, changes, None);
        let offer = Offer {
            signed: join.clone(),
            log: LogKind::OwedEvent,
            state_before: Some(self.state.clone()),
            missing: join.pdu().prev_events.clone(),
        };
        self.add_remote(&offer).await?;
        // All members are new to the room's projection, not only those that changed.
        let kind = StateEventType::RoomMember;
        self.members = Members::default();
        self.changed_members = self
            .state
            .iter()
            .filter(|((place, _), _)| *place == kind)
            .map(|((place, key), id)| StateChange(place.clone(), key.clone(), Some(id.clone())))
            .collect();
        // The state came with the join, not as changes to a room that was here before.
        self.append.resolved_state = None;
        Ok(())
    }
}

/// A room before anything is known of it.
fn empty_snapshot(room: &RoomId, version: &RoomVersionId) -> Option<Snapshot> {
    let row = RoomRow {
        room_id: room.to_owned(),
        version: version.clone(),
        tip: 0,
        state_revision: 0,
        state_group: 0,
        extremities: Vec::new(),
        depth: 0,
        order_min: 1,
        order_max: 0,
    };
    Snapshot::new(row, RoomStateMap::default(), Vec::new(), Vec::new()).ok()
}
