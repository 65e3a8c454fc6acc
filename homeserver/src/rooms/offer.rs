//! An event of another server on a chain: the state before it, the verdict, and what follows.
//!
//! Invariant: the verdict follows the specification's checks 4 to 6 in their order; a rejected or
//! soft-failed event is stored as such and moves neither the extremities nor the current state.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu>

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use passeur_protocol::{
    check::{self, Verdict},
    pdu::Pdu,
    reason::Reason,
    signed::SignedPdu,
};
use ruma::{OwnedEventId, events::StateEventType};

use super::{
    SendError,
    chain::{Chain, Placed},
};
use crate::store::{
    Event, EventStatus, LogKind, RoomStateMap, StateChange, StateGroup, StateKey, StoreError,
    difference,
};

/// An event of another server whose signatures have been verified and whose auth events are held.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The event.
    pub signed: SignedPdu,
    /// How it enters the log.
    pub log: LogKind,
    /// The state before it as peers say, if its predecessors are not held; all its events are.
    pub state_before: Option<RoomStateMap>,
    /// Predecessors that are not held.
    pub missing: Vec<OwnedEventId>,
}

impl Chain<'_> {
    /// Judges an event of another server and takes it in as the verdict says.
    pub(super) async fn add_remote(&mut self, offer: &Offer) -> Result<OwnedEventId, SendError> {
        let pdu = Arc::clone(offer.signed.pdu());
        let held = self.event(&pdu.event_id).await?;
        if let Some(held) = held
            .as_ref()
            .filter(|event| event.status != EventStatus::Outlier)
        {
            return match held.status {
                EventStatus::Rejected => Err(SendError::Rejected("rejected before".to_owned())),
                _ => Ok(pdu.event_id.clone()),
            };
        }
        let before = self.place(offer).await?;
        let mut verdict = self.judge(&pdu, &before.state, &self.state).await?;
        let is_theirs = pdu.sender.server_name() != self.context.server_name;
        if verdict == Verdict::Accepted && is_theirs && !self.is_recommended(&offer.signed).await? {
            let reason = Reason::new("policy server", "not recommended");
            verdict = Verdict::SoftFailed(reason);
        }
        let held = held.as_deref();
        match verdict {
            Verdict::Accepted => self.accept(offer, before, held).await?,
            Verdict::SoftFailed(_) => {
                self.keep_aside(offer, before, EventStatus::SoftFailed, held)
                    .await?;
            }
            Verdict::Rejected(reason) | Verdict::Dropped(reason) => {
                self.keep_aside(offer, before, EventStatus::Rejected, held)
                    .await?;
                return Err(SendError::Rejected(reason.detail().to_owned()));
            }
        }
        Ok(pdu.event_id.clone())
    }

    /// An event of the chain, or a stored one.
    pub(super) async fn event(&self, id: &OwnedEventId) -> Result<Option<Arc<Event>>, StoreError> {
        match self.built.get(id) {
            Some(event) => Ok(Some(Arc::clone(event))),
            None => self.context.store.event(id).await,
        }
    }

    /// The state before an event: what its predecessors lead to, or what peers say.
    pub(super) async fn place(&mut self, offer: &Offer) -> Result<Placed, SendError> {
        if let Some(state) = &offer.state_before {
            return Ok(self.placed(state.clone()));
        }
        let mut groups: Vec<i64> = Vec::new();
        for id in &offer.signed.pdu().prev_events {
            let event = self.event(id).await?;
            if let Some(event) = &event
                && event.pdu.room_id != offer.signed.pdu().room_id
            {
                let detail = "a predecessor is an event of another room".to_owned();
                return Err(SendError::Rejected(detail));
            }
            let after = event.and_then(|event| event.state_after);
            let after = after.ok_or(SendError::Unplaced)?;
            if !groups.contains(&after) {
                groups.push(after);
            }
        }
        match groups.as_slice() {
            [] => Err(SendError::Unplaced),
            [only] => self.state_of(*only).await,
            several => {
                let state = self.resolve_groups(several).await?;
                Ok(self.placed(state))
            }
        }
    }

    /// A state that is a group already.
    pub(super) async fn state_of(&self, group: i64) -> Result<Placed, SendError> {
        if self.path.first().is_some_and(|current| current.id == group) {
            return Ok(self.current(group));
        }
        if let Some((_, state)) = self.states.iter().find(|(made, _)| made.id == group) {
            let path = self.path_of(group).await?;
            return Ok(Placed {
                group,
                state: state.clone(),
                path,
            });
        }
        let store = &self.context.store;
        let state = store.state_at(group).await?;
        Ok(Placed {
            group,
            state,
            path: store.state_path(group).await?,
        })
    }

    /// The path of a group that this chain made.
    async fn path_of(&self, group: i64) -> Result<Vec<Arc<StateGroup>>, StoreError> {
        let made = |id: i64| {
            self.states
                .iter()
                .map(|(group, _)| group)
                .find(|made| made.id == id)
        };
        let Some(first) = made(group) else {
            return self.context.store.state_path(group).await;
        };
        let mut path = vec![Arc::clone(first)];
        for id in &first.path {
            match made(*id) {
                Some(below) => path.push(Arc::clone(below)),
                None => {
                    path.extend(self.context.store.state_path(*id).await?);
                    break;
                }
            }
        }
        Ok(path)
    }

    /// A state as a new group, as a difference to the current one.
    pub(super) fn placed(&mut self, state: RoomStateMap) -> Placed {
        let changes = difference(&self.state, &state);
        if changes.is_empty()
            && let Some(current) = self.path.first()
        {
            return Placed {
                group: current.id,
                state,
                path: self.path.clone(),
            };
        }
        let path = self.path.clone();
        self.new_group(&path, state, changes)
    }

    /// Judges an event by its auth events, the state before it, and the state of now.
    pub(super) async fn judge(
        &self,
        pdu: &Pdu,
        before: &RoomStateMap,
        now: &RoomStateMap,
    ) -> Result<Verdict, SendError> {
        let needs = match check::needs(pdu, self.rules) {
            Ok(needs) => needs,
            Err(reason) => return Ok(Verdict::Rejected(reason)),
        };
        let mut wanted: Vec<OwnedEventId> = needs.events.clone();
        for place in &needs.state {
            wanted.extend(before.get(place).cloned());
            wanted.extend(now.get(place).cloned());
        }
        let found = self.events(&wanted).await?;
        let at = |state: &RoomStateMap, kind: &StateEventType, key: &str| {
            let id = state.get(&(kind.clone(), key.to_owned()))?;
            found.get(id).cloned()
        };
        check::judge(
            pdu,
            self.rules,
            |id| found.get(id).cloned(),
            |kind, key| at(before, kind, key),
            |kind, key| at(now, kind, key),
        )
        .map_err(|_| SendError::Unplaced)
    }

    /// Takes an accepted event into the timeline, and lets extremities and state move on: all of
    /// it, or, if the state cannot be resolved, nothing.
    async fn accept(
        &mut self,
        offer: &Offer,
        before: Placed,
        held: Option<&Event>,
    ) -> Result<(), SendError> {
        let pdu = Arc::clone(offer.signed.pdu());
        let after = self.state_after(&pdu, &before);
        let follows_current = before.state.ptr_eq(&self.state);
        let mut room = self.room.clone().ok_or(SendError::UnknownRoom)?;
        let is_shown = self.is_shown(&pdu).await?;
        room.order_max += i64::from(is_shown);
        let mut event = self
            .new_event(
                &offer.signed,
                EventStatus::Accepted,
                Some(before.group),
                Some(after.group),
            )
            .await?;
        event.room_order = is_shown.then_some(room.order_max);
        let event = self.over_outlier(event, held)?;
        room.tip += 1;
        room.depth = room.depth.max(i64::try_from(pdu.depth).unwrap_or(i64::MAX));
        let outlier = self
            .built
            .insert(pdu.event_id.clone(), Arc::new(event.clone()));
        let newest = room.extremities.clone();
        let state = match self.move_extremities(&mut room, &pdu).await {
            Ok(()) if room.extremities == newest => Ok(self.current(room.state_group)),
            Ok(()) if room.extremities == [pdu.event_id.clone()] => Ok(after),
            Ok(()) => self.resolve_extremities(&newest, &room.extremities).await,
            Err(error) => Err(error),
        };
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                match outlier {
                    Some(outlier) => self.built.insert(pdu.event_id.clone(), outlier),
                    None => self.built.remove(&pdu.event_id),
                };
                return Err(error);
            }
        };
        let changes = match follows_current && room.extremities == [pdu.event_id.clone()] {
            true => self.own_change(&pdu),
            false => difference(&self.state, &state.state),
        };
        self.room = Some(room);
        self.push(event, is_shown.then_some(offer.log), held.is_some());
        self.move_state(state, changes, Some(&pdu));
        self.append.missing.extend(offer.missing.iter().cloned());
        self.append.found.push(pdu.event_id.clone());
        if let Some(redaction) = self.apply_redactions(&pdu).await? {
            self.show_late(&redaction);
        }
        Ok(())
    }

    /// The current state, as the group that it is.
    pub(super) fn current(&self, group: i64) -> Placed {
        Placed {
            group,
            state: self.state.clone(),
            path: self.path.clone(),
        }
    }

    /// The state after an event.
    pub(super) fn state_after(&mut self, pdu: &Pdu, before: &Placed) -> Placed {
        let Some((kind, key)) = pdu.state_place() else {
            return before.clone();
        };
        let mut state = before.state.clone();
        state.insert((kind.clone(), key.clone()), pdu.event_id.clone());
        let changes = vec![StateChange(kind, key, Some(pdu.event_id.clone()))];
        self.new_group(&before.path, state, changes)
    }

    /// What an event that follows the current state changes in it: known without a look at the whole.
    fn own_change(&self, pdu: &Pdu) -> Vec<StateChange> {
        let place = pdu.state_place();
        let changed = place.filter(|place| self.state.get(place) != Some(&pdu.event_id));
        let change = changed.map(|(kind, key)| StateChange(kind, key, Some(pdu.event_id.clone())));
        change.into_iter().collect()
    }

    /// Makes a state the current one, from which it differs by `changes`; members follow, and so does the room's row.
    pub(super) fn move_state(
        &mut self,
        new: Placed,
        changes: Vec<StateChange>,
        event: Option<&Pdu>,
    ) {
        debug_assert_eq!(changes, difference(&self.state, &new.state));
        let Some(room) = &mut self.room else { return };
        room.state_group = new.group;
        self.path = new.path;
        self.state = new.state;
        if changes.is_empty() {
            return;
        }
        room.state_revision += 1;
        let own = event.and_then(Pdu::state_place);
        let others: Vec<StateKey> = changes
            .iter()
            .map(|StateChange(kind, key, _)| (kind.clone(), key.clone()))
            .filter(|place| {
                Some(place) != own.as_ref()
                    || self.state.get(place) != event.map(|pdu| &pdu.event_id)
            })
            .collect();
        if !others.is_empty() {
            self.append.resolved_state = serde_json::to_string(&others).ok();
        }
        self.changed_members.extend(
            changes
                .into_iter()
                .filter(|StateChange(kind, ..)| *kind == StateEventType::RoomMember),
        );
    }

    /// Brings the members in line with the state, once the chain is whole.
    pub(super) async fn settle_members(&mut self) -> Result<(), StoreError> {
        let changes = std::mem::take(&mut self.changed_members);
        let ids: Vec<OwnedEventId> = changes
            .iter()
            .filter_map(|StateChange(.., id)| id.clone())
            .collect();
        let found = self.events(&ids).await?;
        for StateChange(_, key, id) in changes {
            let Ok(user) = ruma::OwnedUserId::try_from(key) else {
                continue;
            };
            let pdu = id.as_ref().and_then(|id| found.get(id));
            let membership = pdu.map(|pdu| super::chain::membership_of(pdu));
            let old = self
                .members
                .by_user
                .get(&user)
                .map(|member| member.event_id.clone());
            if let Some(event_id) = id.or(old) {
                self.set_member(&user, membership, event_id);
            }
        }
        Ok(())
    }

    /// An event in the form in which it is kept, if it is held already as an outlier: without the
    /// body if that was redacted meanwhile, else with the body of the copy that has one.
    pub(super) fn over_outlier(
        &self,
        event: Event,
        held: Option<&Event>,
    ) -> Result<Event, StoreError> {
        let Some(held) = held else { return Ok(event) };
        if held.redacted_by.is_some() {
            return Ok(Event {
                redacted_by: held.redacted_by.clone(),
                ..event.without_body(&self.version)?
            });
        }
        let is_pruned = !event.has_body() && event.deadline.is_none();
        if !is_pruned || event.status == EventStatus::Rejected {
            return Ok(event);
        }
        Ok(Event {
            pdu: Arc::clone(&held.pdu),
            skeleton: Arc::clone(&held.skeleton),
            content_at: held.content_at,
            body: held.body.clone(),
            ..event
        })
    }

    /// Stores an event that is no part of the timeline.
    pub(super) async fn keep_aside(
        &mut self,
        offer: &Offer,
        before: Placed,
        status: EventStatus,
        held: Option<&Event>,
    ) -> Result<(), SendError> {
        let after = match status {
            EventStatus::SoftFailed => self.state_after(offer.signed.pdu(), &before),
            _ => before.clone(),
        };
        let event = self
            .new_event(&offer.signed, status, Some(before.group), Some(after.group))
            .await?;
        let event = self.over_outlier(event, held)?;
        self.push(event, None, held.is_some());
        if status == EventStatus::SoftFailed {
            // It is part of the room's graph: what lies before it is history, which nothing else may lead to.
            self.append.missing.extend(offer.missing.iter().cloned());
            self.append.found.push(offer.signed.pdu().event_id.clone());
        }
        Ok(())
    }
}

/// Ids of a set, in a fixed order.
pub(super) fn sorted(ids: HashSet<OwnedEventId>) -> Vec<OwnedEventId> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort();
    ids
}

/// A state as the protocol crate takes it.
pub(super) fn to_std(state: &RoomStateMap) -> HashMap<StateKey, OwnedEventId> {
    state
        .iter()
        .map(|(place, id)| (place.clone(), id.clone()))
        .collect()
}
