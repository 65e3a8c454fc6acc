//! Memberships of other servers' users in rooms that this server is in.
//!
//! Invariant: a template is made only for a user of the server that asks, and only if the room's
//! rules allow the event now; an event that comes back is verified, must be what the request says,
//! and goes through the same checks as any other.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::{collections::HashSet, sync::Arc};

use passeur_protocol::{
    membership::expect_own_membership,
    signed::{RawPdu, SignedPdu},
};
use ruma::{
    EventId, OwnedEventId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId, ServerName,
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Value, json, value::RawValue};

use super::{
    Draft, JoinError, Member, ReceiveError, Rooms, SendError, Snapshot, chain::Chain, create::raw,
    join::authoriser_of, projection::federation_event, receive::Budget,
};
use crate::store::{LogKind, Membership, RoomStateMap};

/// Members that stand for a room without a name.
const HEROES_MAX: usize = 5;

/// Why another server's user was not let in or out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HostError {
    /// This server is not in the room.
    #[error("no such room")]
    UnknownRoom,
    /// The user is not one of the server that asks, or the event is not what the request says.
    #[error("not what was asked for")]
    Mismatch,
    /// The peer does not support the room's version.
    #[error("incompatible room version")]
    Incompatible(RoomVersionId),
    /// The room's rules or its access control list do not allow it.
    #[error("not allowed")]
    Forbidden,
    /// The invited user wants no invites.
    #[error("invites are blocked")]
    InviteBlocked,
    /// This server cannot see whether the user meets a condition of the room.
    #[error("the conditions cannot be seen from here")]
    UnableToAuthorise,
    /// The room requires that servers destroy what expires, and the one that asks does not say that it does.
    #[error("the room requires expiry")]
    ExpiryRequired,
    /// Nobody of this server may let the user in.
    #[error("nobody here may let the user in")]
    UnableToGrant,
    /// The event does not hold.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
}

impl From<SendError> for HostError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Storage => Self::Receive(ReceiveError::Storage),
            SendError::Damaged => Self::Receive(ReceiveError::Damaged),
            SendError::Busy => Self::Receive(ReceiveError::Busy),
            SendError::UnknownRoom => Self::UnknownRoom,
            _ => Self::Forbidden,
        }
    }
}

impl From<JoinError> for HostError {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::ExpiryRequired => Self::ExpiryRequired,
            JoinError::UnableToAuthorise => Self::UnableToAuthorise,
            JoinError::UnableToGrant => Self::UnableToGrant,
            JoinError::InviteBlocked => Self::InviteBlocked,
            JoinError::Send(error) => error.into(),
            _ => Self::Forbidden,
        }
    }
}

impl From<crate::store::StoreError> for HostError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::Receive(error.into())
    }
}

/// The member events without which a room that has no name cannot be named: "the room members who would be included in the
/// m.heroes property of the room summary".
fn heroes(hosted: &Hosted) -> Vec<OwnedEventId> {
    let is_set = |kind| hosted.state.contains_key(&(kind, String::new()));
    if is_set(StateEventType::RoomName) || is_set(StateEventType::RoomCanonicalAlias) {
        return Vec::new();
    }
    let members = || hosted.room.members.by_user.values();
    let is_here =
        |member: &&Member| matches!(member.membership, Membership::Join | Membership::Invite);
    let pick = |members: Vec<&Member>| -> Vec<OwnedEventId> {
        let picked = members.into_iter().take(HEROES_MAX);
        picked.map(|member| member.event_id.clone()).collect()
    };
    let here = pick(members().filter(is_here).collect());
    match here.is_empty() {
        true => pick(members().collect()),
        false => here,
    }
}

/// What a request says that an event is: a membership of a user of the server that asks.
struct OwnMembership<'a> {
    origin: &'a ServerName,
    event_id: &'a EventId,
    membership: &'a Membership,
}

/// A membership that another server made, taken into the room.
#[derive(Clone, Debug)]
pub struct Hosted {
    /// The event, with all its signatures.
    pub event: Box<RawValue>,
    /// The state before it.
    pub state: RoomStateMap,
    /// The servers that were in the room before it.
    pub servers: Vec<OwnedServerName>,
    room: Arc<Snapshot>,
    auth_events: Vec<OwnedEventId>,
}

/// What a peer that joins is told of a room.
#[derive(Clone, Debug)]
pub struct ToldState {
    /// Events of the state before the join.
    pub state: Vec<OwnedEventId>,
    /// Their auth chains and that of the join, but for what is in `state` if members are omitted.
    pub auth_chain: Vec<OwnedEventId>,
}

impl Rooms {
    /// A template for a member event of a peer's user. `supported` are the versions that the peer
    /// knows; empty for requests that name none.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn template(
        &self,
        origin: &ServerName,
        room: &RoomId,
        user: &OwnedUserId,
        membership: Membership,
        supported: &[RoomVersionId],
    ) -> Result<(RoomVersionId, Box<RawValue>), HostError> {
        let snapshot = self.resident(origin, room).await?;
        if user.server_name() != origin {
            return Err(HostError::Forbidden);
        }
        if !supported.is_empty() && !supported.contains(&snapshot.version) {
            return Err(HostError::Incompatible(snapshot.version.clone()));
        }
        if membership == Membership::Join && !self.is_fit(&snapshot, origin).await? {
            return Err(HostError::ExpiryRequired);
        }
        let mut content = json!({ "membership": membership });
        if membership == Membership::Join
            && let Some(authoriser) = self.authoriser(&snapshot, user).await?
        {
            content["join_authorised_via_users_server"] = authoriser.as_str().into();
        }
        let draft = Draft {
            room_id: room.to_owned(),
            sender: user.clone(),
            kind: TimelineEventType::RoomMember,
            state_key: Some(user.to_string()),
            content: raw(&content),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        let signed = Chain::on(&self.context, &snapshot).draft(&draft).await?;
        let mut template: Value =
            serde_json::from_slice(signed.json()).map_err(|_| HostError::Mismatch)?;
        if let Some(template) = template.as_object_mut() {
            // The peer hashes and signs what it makes of this; our signature must not be on it.
            template.remove("hashes");
            template.remove("signatures");
            template.insert(
                "origin".to_owned(),
                self.context.server_name.as_str().into(),
            );
        }
        Ok((snapshot.version.clone(), raw(&template)))
    }

    /// Takes in a member event that a peer made on a template.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn host(
        self: &Arc<Self>,
        origin: &ServerName,
        room: &RoomId,
        event_id: &EventId,
        pdu: &RawValue,
        membership: Membership,
    ) -> Result<Hosted, HostError> {
        let snapshot = self.resident(origin, room).await?;
        let request = OwnMembership {
            origin,
            event_id,
            membership: &membership,
        };
        let signed = self.verify_membership(&snapshot, &request, pdu).await?;
        if membership == Membership::Join && !self.is_fit(&snapshot, origin).await? {
            return Err(HostError::ExpiryRequired);
        }
        let event = Arc::clone(signed.pdu());
        self.settle(
            origin,
            &snapshot,
            signed,
            LogKind::OwedEvent,
            &mut Budget::default(),
        )
        .await?;
        let stored = self
            .context
            .store
            .event(event_id)
            .await?
            .ok_or(HostError::Forbidden)?;
        if stored.status != crate::store::EventStatus::Accepted {
            return Err(HostError::Forbidden);
        }
        let group = stored.state_before.ok_or(HostError::Forbidden)?;
        // With what was added on its way into the room: our signature, and that of the room's policy server.
        let bytes = federation_event(&stored, self.showing_ms());
        let told = serde_json::from_slice(&bytes).map_err(|_| HostError::Mismatch)?;
        Ok(Hosted {
            event: told,
            state: self.context.store.state_at(group).await?,
            servers: snapshot.members.servers.keys().cloned().collect(),
            auth_events: event.auth_events.clone(),
            room: snapshot,
        })
    }

    /// The state before a join with its auth chain; without members, as far as the peer can do without them.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn told_state(
        &self,
        hosted: &Hosted,
        omit_members: bool,
    ) -> Result<ToldState, HostError> {
        let heroes = match omit_members {
            true => heroes(hosted),
            false => Vec::new(),
        };
        let is_told = |kind: &StateEventType, id: &OwnedEventId| {
            !omit_members || *kind != StateEventType::RoomMember || heroes.contains(id)
        };
        let told = hosted.state.iter();
        let state: Vec<OwnedEventId> = told
            .filter(|((kind, _), id)| is_told(kind, id))
            .map(|(_, id)| id.clone())
            .collect();
        let mut roots = state.clone();
        roots.extend(hosted.auth_events.iter().cloned());
        let auth_chain = self.auth_chain_of(&hosted.room, roots).await;
        let mut auth_chain = auth_chain.map_err(|_| HostError::Forbidden)?;
        auth_chain.extend(hosted.auth_events.iter().cloned());
        auth_chain.sort();
        auth_chain.dedup();
        if omit_members {
            let state: HashSet<&OwnedEventId> = state.iter().collect();
            auth_chain.retain(|id| !state.contains(id));
        }
        Ok(ToldState { state, auth_chain })
    }

    /// What somebody who knocks is shown of a room: whole PDUs.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn shown_of(&self, room: &RoomId) -> Result<Vec<Box<RawValue>>, HostError> {
        let snapshot = self.snapshot(room).await?.ok_or(HostError::UnknownRoom)?;
        Ok(self.stripped_state(&snapshot).await?)
    }

    /// Checks 1 to 3 on an event that must be a membership of a user of `origin`. "The resident homeserver then adds its
    /// signature" to a join, also where no one of ours vouches for it.
    async fn verify_membership(
        &self,
        snapshot: &Snapshot,
        request: &OwnMembership<'_>,
        pdu: &RawValue,
    ) -> Result<SignedPdu, HostError> {
        let rules = snapshot.rules;
        let dropped = |reason| HostError::Receive(ReceiveError::Dropped(reason));
        let event = RawPdu::parse(pdu.get().as_bytes()).map_err(ReceiveError::from)?;
        let mut event = event.check_format(rules).map_err(dropped)?;
        let claimed = event.pdu();
        let user = expect_own_membership(
            claimed,
            &snapshot.room_id,
            request.membership,
            request.origin,
        );
        let user = user.map_err(|_| HostError::Mismatch)?;
        if claimed.event_id != request.event_id {
            return Err(HostError::Mismatch);
        }
        let is_join = *request.membership == Membership::Join;
        let vouches = authoriser_of(claimed, rules).filter(|_| is_join);
        if vouches.is_some_and(|authoriser| self.is_local(&authoriser)) {
            // Whether the one who is named may do so, the room's rules see.
            let may_join = self.authoriser(snapshot, user).await?.is_some();
            let held = snapshot.members.membership(user);
            if !may_join && !matches!(held, Membership::Join | Membership::Invite) {
                return Err(HostError::Forbidden);
            }
        }
        if is_join {
            let (name, key) = (&self.context.server_name, &self.context.key_pair);
            event = event.co_sign(name, key, rules).map_err(dropped)?;
        }
        Ok(self.verify_formed(event, rules).await?)
    }

    /// A room that this server is in and in which `origin` may take part.
    pub(super) async fn resident(
        &self,
        origin: &ServerName,
        room: &RoomId,
    ) -> Result<Arc<Snapshot>, HostError> {
        let snapshot = self.snapshot(room).await?.ok_or(HostError::UnknownRoom)?;
        if snapshot.members.local_joined.is_empty() {
            return Err(HostError::UnknownRoom);
        }
        if !self.may_take_part(&snapshot, origin).await? {
            return Err(HostError::Forbidden);
        }
        Ok(snapshot)
    }
}
