//! Joining a room through another server.
//!
//! Invariant: of the peer's template only the predecessors, auth events, depth and version are
//! used; the event that we sign is made from our own fields, so that a peer cannot make us sign
//! anything but the join that our user asked for. The state that comes back is verified event by
//! event before the room exists here.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#joining-rooms>

use std::{collections::HashSet, sync::Arc, time::Duration};

use passeur_protocol::{
    build, json,
    membership::{Asked, accept_template},
    pdu::Pdu,
    signed::{RawPdu, SignedPdu},
    versions,
};
use ruma::{
    OwnedServerName, OwnedUserId, RoomId, RoomVersionId, ServerName, UserId,
    api::federation::membership::{
        create_join_event::v2 as create_join_event, prepare_join_event::v1 as prepare_join_event,
    },
    room_version_rules::RoomVersionRules,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    MembershipChange, ReceiveError, Rooms, SendError, Snapshot, chain::timestamp_of, create::raw,
    import::Import, leave::inviting_servers,
};
use crate::{clock::within, outbound::RemoteError, store::StoreError};

/// Servers that are tried for one join.
const SERVERS_MAX: usize = 8;
/// The longest that one join may take, whatever the servers do.
const JOIN_TIME_MAX: Duration = Duration::from_secs(180);

/// Why a room could not be joined.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JoinError {
    /// No server that was asked could help; the last one said why, if it said anything.
    #[error("no server could help")]
    NoServer(Option<RemoteError>),
    /// The room's version is not supported here.
    #[error("unsupported room version")]
    UnsupportedVersion(RoomVersionId),
    /// The room's version is not supported by the server of the one who is invited.
    #[error("the other server does not support the room's version")]
    UnsupportedByInvitee,
    /// What the peer answered is not a room that this user could join.
    #[error("the answer of the peer does not hold")]
    BadAnswer,
    /// The invited user wants no invites.
    #[error("invites are blocked")]
    InviteBlocked,
    /// The room requires that servers destroy what expires, and that of the one who is invited does not say that it does.
    #[error("the room requires expiry")]
    ExpiryRequired,
    /// This server cannot see whether the user meets a condition of a restricted room.
    #[error("the conditions cannot be seen from here")]
    UnableToAuthorise,
    /// Nobody of this server may let a user into a restricted room, though they may join.
    #[error("nobody here may let the user in")]
    UnableToGrant,
    /// This server could not take the room in.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl From<StoreError> for JoinError {
    fn from(error: StoreError) -> Self {
        Self::Send(error.into())
    }
}

/// How a user may come into a room.
#[derive(Debug)]
pub(super) enum Way {
    /// This server is in the room.
    Here(Arc<Snapshot>),
    /// Through one of these servers, none of them ours, tried in turn.
    Through(Vec<OwnedServerName>),
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
        servers: Vec<OwnedServerName>,
    ) -> Result<(), JoinError> {
        let mut content = self.profile_of(user).await?.member("join", false);
        if let Some(reason) = reason {
            content["reason"] = reason.into();
        }
        self.enter(room, user, content, servers).await?;
        self.take_settings_along(room, user).await;
        Ok(())
    }

    async fn enter(
        self: &Arc<Self>,
        room: &RoomId,
        user: &OwnedUserId,
        content: Value,
        servers: Vec<OwnedServerName>,
    ) -> Result<(), JoinError> {
        let servers = match self.way_into(room, user, servers).await? {
            Way::Here(snapshot) => match self.join_here(&snapshot, user, &content).await {
                // Somebody of another server may be allowed to let the user in.
                Err(JoinError::UnableToGrant) => self.others_of(&snapshot),
                done => return done,
            },
            Way::Through(servers) => servers,
        };
        let clock = &*self.context.clock;
        let joining = self.join_through(room, user, content, &servers);
        within(clock, JOIN_TIME_MAX, joining)
            .await
            .unwrap_or(Err(JoinError::NoServer(Some(RemoteError::Timeout))))
    }

    /// Whether a room is here, or else which servers may know it: those that are named, those that
    /// were in it, those of an invite, and the one in the room's name.
    pub(super) async fn way_into(
        &self,
        room: &RoomId,
        user: &UserId,
        mut servers: Vec<OwnedServerName>,
    ) -> Result<Way, StoreError> {
        if let Some(snapshot) = self.snapshot(room).await? {
            if !snapshot.members.local_joined.is_empty() {
                return Ok(Way::Here(snapshot));
            }
            servers.extend(self.servers_of(room).await?);
        }
        if let Some(row) = self.memberships(user).await?.get(room) {
            servers.extend(inviting_servers(row));
        }
        // Room ids up to version 11 name a server that was once in the room.
        servers.extend(room.server_name().map(ToOwned::to_owned));
        let mut tried = HashSet::from([self.context.server_name.clone()]);
        servers.retain(|server| tried.insert(server.clone()));
        servers.truncate(SERVERS_MAX);
        Ok(Way::Through(servers))
    }

    /// The other servers of a room that this server is in.
    fn others_of(&self, snapshot: &Snapshot) -> Vec<OwnedServerName> {
        let servers = snapshot.members.servers.keys();
        let others = servers.filter(|server| **server != self.context.server_name);
        others.take(SERVERS_MAX).cloned().collect()
    }

    /// Joins a room that this server is in.
    async fn join_here(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        user: &OwnedUserId,
        content: &Value,
    ) -> Result<(), JoinError> {
        if snapshot.members.is_joined(user) {
            return Ok(());
        }
        let mut content = content.clone();
        if let Some(authoriser) = self.authoriser(snapshot, user).await? {
            content["join_authorised_via_users_server"] = authoriser.as_str().into();
        }
        let change = MembershipChange {
            room_id: snapshot.room_id.clone(),
            sender: user.clone(),
            user: user.clone(),
            content,
        };
        self.set_membership(change).await?;
        Ok(())
    }

    /// Joins a local user to a room through one of `servers`, tried in turn.
    ///
    /// # Errors
    /// See [`JoinError`].
    async fn join_through(
        self: &Arc<Self>,
        room: &RoomId,
        user: &OwnedUserId,
        content: Value,
        servers: &[OwnedServerName],
    ) -> Result<(), JoinError> {
        let _under_way = self.joining.begin(user);
        let mut last = JoinError::NoServer(None);
        for server in servers {
            match self.try_join(room, user, &content, server).await {
                Ok(()) => return Ok(()),
                Err(error @ JoinError::Send(_)) => return Err(error),
                Err(error) => last = more_telling(last, error),
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
        request.ver = versions_for_peers();
        let bounds = self.context.remote.large();
        let remote = &self.context.remote;
        let answer = remote.call(server, request, bounds).await;
        let answer = answer.map_err(|error| JoinError::NoServer(Some(error)))?;
        // Without a version the room is of version 1.
        let version = answer.room_version.unwrap_or(RoomVersionId::V1);
        let join = self.sign_member(room, user, content, &version, &answer.event)?;
        let event_id = join.pdu().event_id.clone();
        let pdu = to_raw(&join)?;
        let request = create_join_event::Request::new(room.to_owned(), event_id, pdu);
        let answer = remote.call(server, request, bounds).await;
        let answer = answer
            .map_err(|error| JoinError::NoServer(Some(error)))?
            .room_state;
        let rules = rules_of(&version)?;
        let join = self.vouched(join, answer.event.as_deref(), rules).await?;
        let import = Import {
            room,
            version,
            join,
            auth_chain: &answer.auth_chain,
            state: &answer.state,
        };
        self.take_in(server, import).await
    }

    /// Our join with the signature of the server that vouches for it, in a restricted room. Of the
    /// peer's copy nothing else is taken.
    async fn vouched(
        &self,
        join: SignedPdu,
        copy: Option<&RawValue>,
        rules: &RoomVersionRules,
    ) -> Result<SignedPdu, JoinError> {
        let Some(authoriser) = authoriser_of(join.pdu(), rules) else {
            return Ok(join);
        };
        let copy = copy.ok_or(JoinError::BadAnswer)?;
        self.with_signature_of(join, copy, authoriser.server_name(), rules)
            .await
    }

    /// An event of ours with the signature that another server has put on its copy of it.
    pub(super) async fn with_signature_of(
        &self,
        event: SignedPdu,
        copy: &RawValue,
        server: &ServerName,
        rules: &RoomVersionRules,
    ) -> Result<SignedPdu, JoinError> {
        let copy = RawPdu::parse(copy.get().as_bytes()).map_err(|_| JoinError::BadAnswer)?;
        let signed = event.with_signatures_of(&copy, server, rules);
        let signed = to_raw(&signed.map_err(|_| JoinError::BadAnswer)?)?;
        match self.verify(&signed, rules).await {
            Ok(signed) => Ok(signed),
            Err(ReceiveError::Storage) => Err(SendError::Storage.into()),
            Err(_) => Err(JoinError::BadAnswer),
        }
    }

    /// Makes and signs the member event that our user asked for, in the place that a peer's
    /// template names.
    pub(super) fn sign_member(
        &self,
        room: &RoomId,
        user: &OwnedUserId,
        content: &Value,
        version: &RoomVersionId,
        template: &RawValue,
    ) -> Result<SignedPdu, JoinError> {
        let rules = rules_of(version)?;
        let offered =
            json::parse_pdu(template.get().as_bytes()).map_err(|_| JoinError::BadAnswer)?;
        let membership = content["membership"].as_str().unwrap_or_default().into();
        let asked = Asked {
            room_id: room,
            user_id: user,
            membership: &membership,
            content: &raw(content),
            origin_server_ts: timestamp_of(self.context.clock.now_ms()),
        };
        let (event, tip) =
            accept_template(&offered, &asked, rules).map_err(|_| JoinError::BadAnswer)?;
        if tip.prev_events.is_empty() {
            return Err(JoinError::BadAnswer);
        }
        let context = &self.context;
        build::build(event, tip, rules, &context.server_name, &context.key_pair)
            .map_err(|_| JoinError::BadAnswer)
    }
}

/// The rules of a room's version.
pub(super) fn rules_of(version: &RoomVersionId) -> Result<&'static RoomVersionRules, JoinError> {
    versions::rules(version).ok_or_else(|| JoinError::UnsupportedVersion(version.clone()))
}

/// Who vouches for a restricted join.
pub(super) fn authoriser_of(join: &Pdu, rules: &RoomVersionRules) -> Option<OwnedUserId> {
    #[derive(Deserialize)]
    struct Content {
        join_authorised_via_users_server: OwnedUserId,
    }
    let content = serde_json::from_str::<Content>(join.content.get()).ok();
    content
        .filter(|_| rules.authorization.restricted_join_rule)
        .map(|content| content.join_authorised_via_users_server)
}

/// The room versions that peers are told we know.
pub(super) fn versions_for_peers() -> Vec<RoomVersionId> {
    let supported = versions::supported().iter();
    supported.map(|version| version.id.clone()).collect()
}

/// Of two failures the one that says more to the user: what a server answered, rather than that
/// another could not be reached.
pub(super) fn more_telling(before: JoinError, now: JoinError) -> JoinError {
    let is_answer = |error: &JoinError| match error {
        JoinError::NoServer(Some(error)) => !error.is_unreachable(),
        JoinError::NoServer(None) => false,
        _ => true,
    };
    if is_answer(&before) && !is_answer(&now) {
        before
    } else {
        now
    }
}

/// An event as it goes over the wire.
pub(super) fn to_raw(signed: &SignedPdu) -> Result<Box<RawValue>, JoinError> {
    serde_json::from_slice(signed.json()).map_err(|_| JoinError::BadAnswer)
}
