//! Joining a room through another server.
//!
//! Invariant: of the peer's template only the predecessors, auth events, depth and version are
//! used; the event that we sign is made from our own fields, so that a peer cannot make us sign
//! anything but the join that our user asked for. The state that comes back is verified event by
//! event before the room exists here.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::sync::Arc;

use passeur_protocol::{
    build::{self, EventTemplate, Tip},
    check,
    limits::{AUTH_EVENTS_MAX, PREV_EVENTS_MAX},
    signed::SignedPdu,
    versions,
};
use ruma::{
    EventId, OwnedEventId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId, ServerName,
    api::federation::membership::{
        create_join_event::v2 as create_join_event, prepare_join_event::v1 as prepare_join_event,
    },
    events::TimelineEventType,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    Members, MembershipChange, Offer, Rooms, SendError, Snapshot,
    chain::{Chain, timestamp_of},
    create::raw,
    leave::inviting_servers,
};
use crate::{
    outbound::RemoteError,
    store::{
        EventStatus, LogKind, Moved, NewEvent, RoomRow, RoomStateMap, StateChange, StoreError,
        difference,
    },
};

/// Servers that are tried for one join.
const SERVERS_MAX: usize = 8;

/// Why a room could not be joined.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JoinError {
    /// No server that was asked could help; the last one said why, if it said anything.
    #[error("no server could help")]
    NoServer(Option<RemoteError>),
    /// The room's version is not supported here.
    #[error("unsupported room version")]
    UnsupportedVersion,
    /// What the peer answered is not a room that this user could join.
    #[error("the answer of the peer does not hold")]
    BadAnswer,
    /// This server could not take the room in.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl From<StoreError> for JoinError {
    fn from(error: StoreError) -> Self {
        Self::Send(error.into())
    }
}

/// The parts of a peer's template that are used.
#[derive(Debug, Deserialize)]
pub(super) struct Template {
    prev_events: Vec<OwnedEventId>,
    auth_events: Vec<OwnedEventId>,
    depth: u64,
    #[serde(default)]
    content: TemplateContent,
}

#[derive(Debug, Default, Deserialize)]
struct TemplateContent {
    join_authorised_via_users_server: Option<OwnedUserId>,
}

impl Rooms {
    /// Joins a local user to a room: here if this server is in it, else through `servers` and
    /// those that the invite names.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join(
        self: &Arc<Self>,
        room: &RoomId,
        user: &OwnedUserId,
        reason: Option<&str>,
        mut servers: Vec<OwnedServerName>,
    ) -> Result<(), JoinError> {
        let mut content = self.profile_of(user).await?.member("join", false);
        if let Some(reason) = reason {
            content["reason"] = reason.into();
        }
        let snapshot = self.snapshot(room).await?;
        if let Some(snapshot) = &snapshot {
            if snapshot.members.is_joined(user) {
                return Ok(());
            }
            if !snapshot.members.local_joined.is_empty() {
                let change = MembershipChange {
                    room_id: room.to_owned(),
                    sender: user.clone(),
                    user: user.clone(),
                    content,
                };
                self.set_membership(change).await?;
                return Ok(());
            }
            servers.extend(self.servers_of(room).await?);
        }
        if let Some(row) = self.memberships(user).await?.get(room) {
            servers.extend(inviting_servers(row));
        }
        // Room ids up to version 11 name a server that was once in the room.
        servers.extend(room.server_name().map(ToOwned::to_owned));
        let mut tried = std::collections::HashSet::new();
        servers.retain(|server| tried.insert(server.clone()));
        self.join_through(room, user, content, &servers).await
    }

    /// Joins a local user to a room through one of `servers`, tried in turn.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn join_through(
        self: &Arc<Self>,
        room: &RoomId,
        user: &OwnedUserId,
        content: Value,
        servers: &[OwnedServerName],
    ) -> Result<(), JoinError> {
        let _under_way = self.joining.begin(user);
        let mut last = JoinError::NoServer(None);
        let others = servers
            .iter()
            .filter(|server| **server != self.context.server_name);
        for server in others.take(SERVERS_MAX) {
            match self.try_join(room, user, &content, server).await {
                Ok(()) => return Ok(()),
                Err(error @ JoinError::Send(_)) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn try_join(
        self: &Arc<Self>,
        room: &RoomId,
        user: &OwnedUserId,
        content: &Value,
        server: &ServerName,
    ) -> Result<(), JoinError> {
        let mut request = prepare_join_event::Request::new(room.to_owned(), user.clone());
        request.ver = versions::supported()
            .iter()
            .map(|version| version.id.clone())
            .collect();
        let bounds = self.context.remote.large();
        let remote = &self.context.remote;
        let answer = remote.call(server, request, bounds).await;
        let answer = answer.map_err(|error| JoinError::NoServer(Some(error)))?;
        // Without a version the room is of version 1.
        let version = answer.room_version.unwrap_or(RoomVersionId::V1);
        let join = self.sign_member(room, user, content.clone(), &version, &answer.event)?;
        let event_id = join.pdu().event_id.clone();
        let pdu = to_raw(&join)?;
        let request = create_join_event::Request::new(room.to_owned(), event_id, pdu);
        let answer = remote.call(server, request, bounds).await;
        let answer = answer
            .map_err(|error| JoinError::NoServer(Some(error)))?
            .room_state;
        let rules = versions::rules(&version).ok_or(JoinError::UnsupportedVersion)?;
        // A restricted room's resident server signs as well.
        let join = match &answer.event {
            Some(signed) => {
                let signed = self
                    .verify(signed, rules)
                    .await
                    .map_err(|_| JoinError::BadAnswer)?;
                if signed.pdu().event_id != join.pdu().event_id {
                    return Err(JoinError::BadAnswer);
                }
                signed
            }
            None => join,
        };
        self.import(room, version, join, &answer.auth_chain, &answer.state)
            .await
    }

    /// Makes and signs a member event of our user on a peer's template.
    pub(super) fn sign_member(
        &self,
        room: &RoomId,
        user: &OwnedUserId,
        mut content: Value,
        version: &RoomVersionId,
        template: &RawValue,
    ) -> Result<SignedPdu, JoinError> {
        let rules = versions::rules(version).ok_or(JoinError::UnsupportedVersion)?;
        let template: Template =
            serde_json::from_str(template.get()).map_err(|_| JoinError::BadAnswer)?;
        if template.prev_events.len() > PREV_EVENTS_MAX
            || template.auth_events.len() > AUTH_EVENTS_MAX
            || template.prev_events.is_empty()
        {
            return Err(JoinError::BadAnswer);
        }
        if let Some(authoriser) = template.content.join_authorised_via_users_server
            && content["membership"] == "join"
        {
            content["join_authorised_via_users_server"] = Value::String(authoriser.to_string());
        }
        let event = EventTemplate {
            room_id: Some(room.to_owned()),
            sender: user.clone(),
            kind: TimelineEventType::RoomMember,
            state_key: Some(user.to_string()),
            content: raw(&content),
            redacts: None,
            origin_server_ts: timestamp_of(self.context.clock.now_ms()),
        };
        let tip = Tip {
            prev_events: template.prev_events,
            auth_events: template.auth_events,
            depth: template.depth,
        };
        let context = &self.context;
        build::build(event, tip, rules, &context.server_name, &context.key_pair)
            .map_err(|_| JoinError::BadAnswer)
    }

    /// Takes a room in: its state and auth chain as outliers, our join as the newest event.
    async fn import(
        self: &Arc<Self>,
        room: &RoomId,
        version: RoomVersionId,
        join: SignedPdu,
        auth_chain: &[Box<RawValue>],
        state: &[Box<RawValue>],
    ) -> Result<(), JoinError> {
        let rules = versions::rules(&version).ok_or(JoinError::UnsupportedVersion)?;
        let existing = self.snapshot(room).await?;
        let base = match &existing {
            Some(snapshot) => Arc::clone(snapshot),
            None => Arc::new(empty_snapshot(room, &version).ok_or(JoinError::UnsupportedVersion)?),
        };
        let mut events = self.verify_all(&base, auth_chain).await;
        let state = self.verify_all(&base, state).await;
        let places: Vec<_> = state
            .iter()
            .filter_map(|signed| Some((signed.pdu().state_place()?, signed.pdu().event_id.clone())))
            .collect();
        events.extend(state);
        let mut outliers = self.judge_outliers(&base, events).await?;
        let allowed = |id: &EventId| {
            !outliers
                .iter()
                .any(|event| event.id() == id && event.status == EventStatus::Rejected)
        };
        let state: RoomStateMap = places.into_iter().filter(|(_, id)| allowed(id)).collect();
        let mut seen = std::collections::HashSet::new();
        outliers.retain(|event| seen.insert(event.id().to_owned()));

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
        chain.begin_from(state, &join).await?;
        chain.settle_members().await?;
        match self.commit(chain).await? {
            Ok(()) => Ok(()),
            Err(Moved) => Err(SendError::Busy.into()),
        }
    }
}

impl Chain<'_> {
    /// Puts a state that peers gave in place of what was known, and our join on top of it.
    async fn begin_from(&mut self, state: RoomStateMap, join: &SignedPdu) -> Result<(), JoinError> {
        let changes = difference(&self.state, &state);
        let path = self.path.clone();
        let before = self.new_group(&path, state, changes);
        let Some(mut room) = self.room.clone() else {
            return Err(JoinError::BadAnswer);
        };
        // Nothing of an earlier stay is a predecessor of the join: its timeline ends in a gap.
        room.extremities = join.pdu().prev_events.clone();
        room.tip += 1;
        self.room = Some(room);
        self.move_state(before, None);
        let offer = Offer {
            signed: join.clone(),
            log: LogKind::OwedEvent,
            state_before: Some(self.state.clone()),
            missing: join.pdu().prev_events.clone(),
        };
        self.add_remote(&offer).await?;
        // All members are new to the room's projection, not only those that changed.
        let kind = ruma::events::StateEventType::RoomMember;
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
pub(super) fn empty_snapshot(room: &RoomId, version: &RoomVersionId) -> Option<Snapshot> {
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

/// An event as it goes over the wire.
pub(super) fn to_raw(signed: &SignedPdu) -> Result<Box<RawValue>, JoinError> {
    serde_json::from_slice(signed.json()).map_err(|_| JoinError::BadAnswer)
}
