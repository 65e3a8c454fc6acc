//! A chain of events on a room as last committed: built, checked and ready for the writer.
//!
//! Invariant: a chain performs no write and waits for no peer; what it reads is stored events and
//! states. It stands for exactly one tip: if the room has moved, it is thrown away and built again.

use std::{collections::HashMap, sync::Arc};

use passeur_protocol::{
    build::{self, EventTemplate, Tip, auth_types},
    check,
    pdu::Pdu,
    reason::Reason,
    signed::SignedPdu,
};
use ruma::{
    EventId, OwnedEventId, RoomVersionId, events::TimelineEventType,
    room_version_rules::RoomVersionRules,
};

use super::{
    Draft, Members, Offer, RoomsContext, SendError, Snapshot,
    deadline::{PolicyIds, policy_ids},
};
use crate::store::{
    Event, EventStatus, LogKind, Membership, NewEvent, NewMembership, NewTransaction, REDACTS,
    RoomAppend, RoomRow, RoomStateMap, StateChange, StateGroup, StoreError,
};

mod event;

pub(super) use event::{bare_event, membership_of, relation_of, timestamp_of};

/// A chain under construction.
pub(super) struct Chain<'a> {
    pub(super) context: &'a RoomsContext,
    pub(super) rules: &'static RoomVersionRules,
    /// The room as it will be; its `room_id` is `None` until a room of version 12 has its create
    /// event.
    pub(super) room: Option<RoomRow>,
    pub(super) version: RoomVersionId,
    pub(super) state: RoomStateMap,
    pub(super) path: Vec<Arc<StateGroup>>,
    pub(super) members: Members,
    pub(super) append: RoomAppend,
    pub(super) built: HashMap<OwnedEventId, Arc<Event>>,
    /// Every state that the chain made, for the cache.
    pub(super) states: Vec<(Arc<StateGroup>, RoomStateMap)>,
    /// Members whose state changed and who are settled when the chain is whole.
    pub(super) changed_members: Vec<StateChange>,
    /// The events that hold the room's expiry policy before the chain.
    pub(super) policy_before: PolicyIds,
}

/// A state with its place among the groups.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// Its group.
    pub(super) group: i64,
    /// The state.
    pub(super) state: RoomStateMap,
    /// The group and those of its path, nearest first.
    pub(super) path: Vec<Arc<StateGroup>>,
}

impl<'a> Chain<'a> {
    /// A chain on a room that exists.
    pub(super) fn on(context: &'a RoomsContext, snapshot: &Snapshot) -> Self {
        let append = RoomAppend {
            expected_tip: Some(snapshot.tip),
            ..RoomAppend::default()
        };
        Self {
            context,
            rules: snapshot.rules,
            room: Some(snapshot.row.clone()),
            version: snapshot.version.clone(),
            state: snapshot.state.clone(),
            path: snapshot.path.clone(),
            members: snapshot.members.clone(),
            append,
            built: HashMap::new(),
            states: Vec::new(),
            changed_members: Vec::new(),
            policy_before: policy_ids(&snapshot.state),
        }
    }

    /// A chain that begins a room.
    pub(super) fn new_room(
        context: &'a RoomsContext,
        version: RoomVersionId,
        rules: &'static RoomVersionRules,
    ) -> Self {
        Self {
            context,
            rules,
            room: None,
            version,
            state: RoomStateMap::default(),
            path: Vec::new(),
            members: Members::default(),
            append: RoomAppend::default(),
            built: HashMap::new(),
            states: Vec::new(),
            changed_members: Vec::new(),
            policy_before: PolicyIds::default(),
        }
    }

    /// Builds a local user's event on the chain, checks it and takes it in.
    pub(super) async fn add_local(&mut self, draft: &Draft) -> Result<OwnedEventId, SendError> {
        let (signed, redacted) = self.prepare(draft).await?;
        let id = signed.pdu().event_id.clone();
        self.take(&signed, LogKind::OwedEvent).await?;
        if let Some(target) = redacted {
            self.append.redactions.push((target, id.clone()));
        }
        self.note_transaction(draft, &id);
        Ok(id)
    }

    /// Takes in a local user's event that was made before it came to its turn.
    pub(super) async fn add_recommended(
        &mut self,
        draft: &Draft,
        offer: &Offer,
    ) -> Result<OwnedEventId, SendError> {
        let id = self.add_remote(offer).await?;
        let taken = self.built.get(&id);
        if taken.is_none_or(|event| event.status != EventStatus::Accepted) {
            let detail = "the room has changed, and does not allow it any more";
            return Err(SendError::Forbidden(detail.to_owned()));
        }
        self.note_transaction(draft, &id);
        Ok(id)
    }

    /// Builds and checks a local user's event, and what it redacts, without taking it in.
    pub(super) async fn prepare(
        &self,
        draft: &Draft,
    ) -> Result<(SignedPdu, Option<OwnedEventId>), SendError> {
        let draft = &*self.with_target(draft)?;
        let signed = self.draft(draft).await?;
        self.must_be_new_annotation(signed.pdu()).await?;
        self.must_begin_at_a_root(signed.pdu()).await?;
        let redacted = match &draft.redacts {
            Some(target) => Some(self.redactable(signed.pdu(), target).await?),
            None => None,
        };
        Ok((signed, redacted))
    }

    /// Has a repeat of the client's transaction answered alike.
    fn note_transaction(&mut self, draft: &Draft, id: &EventId) {
        if let Some(transaction) = &draft.transaction {
            self.append.transactions.push(NewTransaction {
                user_id: draft.sender.clone(),
                device_id: transaction.device_id.clone(),
                key: transaction.key.clone(),
                event_id: id.to_owned(),
                created_ts: self.context.clock.now_ms(),
            });
        }
    }

    /// Builds and checks a local user's event without taking it in.
    pub(super) async fn draft(&self, draft: &Draft) -> Result<SignedPdu, SendError> {
        let signed = self.build(draft).await?;
        self.authorise(signed.pdu()).await?;
        Ok(signed)
    }

    async fn build(&self, draft: &Draft) -> Result<SignedPdu, SendError> {
        let auth = auth_types(
            &draft.kind,
            &draft.sender,
            draft.state_key.as_deref(),
            &draft.content,
            self.rules,
        )
        .map_err(|reason| SendError::Malformed(reason.detail().to_owned()))?;
        let auth_events = auth
            .iter()
            .filter_map(|place| self.state.get(place).cloned())
            .collect();
        let timestamp = draft
            .timestamp_ms
            .unwrap_or_else(|| self.context.clock.now_ms());
        let (prev_events, depth) = match &self.room {
            // They are never more than an event may name.
            Some(room) => (room.extremities.clone(), u64::try_from(room.depth).ok()),
            None => (Vec::new(), None),
        };
        let is_v12_create = draft.kind == TimelineEventType::RoomCreate
            && self.rules.authorization.room_create_event_id_as_room_id;
        let template = EventTemplate {
            room_id: (!is_v12_create).then(|| draft.room_id.clone()),
            sender: draft.sender.clone(),
            kind: draft.kind.clone(),
            state_key: draft.state_key.clone(),
            content: draft.content.clone(),
            redacts: draft.redacts.clone(),
            origin_server_ts: timestamp_of(timestamp),
        };
        let tip = Tip {
            prev_events,
            auth_events,
            depth: build::depth_after(depth),
        };
        let context = self.context;
        Ok(build::build(
            template,
            tip,
            self.rules,
            &context.server_name,
            &context.key_pair,
        )?)
    }

    /// An event of the chain, or a stored one.
    pub(super) async fn events(
        &self,
        ids: &[OwnedEventId],
    ) -> Result<HashMap<OwnedEventId, Arc<Pdu>>, StoreError> {
        let mut found = HashMap::with_capacity(ids.len());
        let mut wanted = Vec::new();
        for id in ids {
            match self.built.get(id) {
                Some(event) => {
                    found.insert(id.clone(), Arc::clone(&event.pdu));
                }
                None => wanted.push(id.clone()),
            }
        }
        for event in self.context.store.events(&wanted).await? {
            found.insert(event.id().to_owned(), Arc::clone(&event.pdu));
        }
        Ok(found)
    }

    /// Checks an event of ours. Its auth events are taken from the current state, so that one
    /// check stands for all three of the specification.
    async fn authorise(&self, pdu: &Pdu) -> Result<(), SendError> {
        let malformed = |reason: Reason| SendError::Malformed(reason.detail().to_owned());
        let wanted = check::needs(pdu, self.rules).map_err(malformed)?.events;
        let found = self.events(&wanted).await?;
        match check::check_auth_events(pdu, self.rules, |id: &EventId| found.get(id).cloned()) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(SendError::Forbidden(reason.detail().to_owned())),
            Err(_) => Err(StoreError::corrupt("events", "event_id").into()),
        }
    }

    /// Takes a checked event of ours in: the room's row, its state and members move on.
    pub(super) async fn take(&mut self, signed: &SignedPdu, log: LogKind) -> Result<(), SendError> {
        let pdu = Arc::clone(signed.pdu());
        let room = self
            .room
            .clone()
            .unwrap_or_else(|| empty_row(&pdu, &self.version));
        let before = (room.tip > 0).then_some(room.state_group);
        let mut new = None;
        if let Some((kind, key)) = pdu.state_place() {
            let mut state = self.state.clone();
            state.insert((kind.clone(), key.clone()), pdu.event_id.clone());
            let change = StateChange(kind, key, Some(pdu.event_id.clone()));
            let path = self.path.clone();
            new = Some(self.new_group(&path, state, vec![change]));
        }
        let after = new.as_ref().map(|new| new.group).or(before);
        let mut event = self
            .new_event(signed, EventStatus::Accepted, before, after)
            .await?;
        // Only now, when nothing can fail any more, does the chain move on.
        if let Some(new) = new {
            self.state = new.state;
            self.path = new.path;
        }
        event.room_order = Some(room.order_max + 1);
        self.room = Some(RoomRow {
            tip: room.tip + 1,
            state_revision: room.state_revision + i64::from(pdu.is_state()),
            state_group: after.unwrap_or(room.state_group),
            extremities: vec![pdu.event_id.clone()],
            depth: i64::try_from(pdu.depth).unwrap_or(i64::MAX),
            order_max: room.order_max + 1,
            ..room
        });
        self.append.room_id = Some(pdu.room_id.clone());
        self.note_member(&pdu);
        self.push(event, Some(log), false);
        Ok(())
    }

    /// Adds an event to what is written.
    pub(super) fn push(&mut self, event: Event, log: Option<LogKind>, promoted: bool) {
        let redacts = event
            .pdu
            .redacts
            .clone()
            .map(|target| (target, REDACTS.to_owned()));
        let relation = redacts.or_else(|| relation_of(&event.pdu));
        self.built
            .insert(event.pdu.event_id.clone(), Arc::new(event.clone()));
        self.append.events.push(NewEvent {
            event,
            log,
            relation,
            promoted,
        });
    }

    /// A new group that follows `path` by `changes` and stands for `state`.
    pub(super) fn new_group(
        &mut self,
        path: &[Arc<StateGroup>],
        state: RoomStateMap,
        changes: Vec<StateChange>,
    ) -> Placed {
        let id = i64::from_ne_bytes(self.context.rng.next_u64().to_ne_bytes()) & i64::MAX;
        let group = Arc::new(StateGroup::after(id, path, changes));
        let below = path
            .iter()
            .filter(|below| group.path.contains(&below.id))
            .cloned();
        let path = std::iter::once(Arc::clone(&group)).chain(below).collect();
        self.append.groups.push(StateGroup::clone(&group));
        self.states.push((group, state.clone()));
        Placed {
            group: id,
            state,
            path,
        }
    }

    /// Moves the members on, if the event is one of theirs.
    fn note_member(&mut self, pdu: &Pdu) {
        if pdu.kind != TimelineEventType::RoomMember {
            return;
        }
        let Some(user) = pdu
            .state_key
            .as_deref()
            .and_then(|key| <&ruma::UserId>::try_from(key).ok())
        else {
            return;
        };
        let membership = membership_of(pdu);
        self.set_member(user, Some(membership), pdu.event_id.clone());
    }

    /// Sets a membership in the members and in what is written.
    pub(super) fn set_member(
        &mut self,
        user: &ruma::UserId,
        membership: Option<Membership>,
        event_id: OwnedEventId,
    ) {
        let is_local = user.server_name() == self.context.server_name;
        self.members
            .set(user, membership.clone(), event_id.clone(), is_local);
        self.append.members.push(NewMembership {
            user_id: user.to_owned(),
            membership,
            event_id,
            is_local,
            stripped_state: None,
        });
    }
}

/// The row of a room before its first event.
fn empty_row(pdu: &Pdu, version: &RoomVersionId) -> RoomRow {
    RoomRow {
        room_id: pdu.room_id.clone(),
        version: version.clone(),
        tip: 0,
        state_revision: 0,
        state_group: 0,
        extremities: Vec::new(),
        depth: 0,
        order_min: 1,
        order_max: 0,
    }
}
