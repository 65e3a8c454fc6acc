//! Invites across servers.
//!
//! Invariant: the invited user's server is asked to sign before the invite enters the room; a
//! server that is invited stores the invite as its user's own, with stripped state of bounded
//! size, and learns nothing else of the room.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use std::sync::Arc;

use passeur_protocol::{membership::expect_invite, signed::SignedPdu};
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, RoomVersionId, ServerName, UserId,
    api::federation::membership::{RawStrippedState, create_invite::v2 as create_invite},
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
};
use serde_json::{Value, json, value::RawValue};

use super::{
    Draft, HostError, JoinError, MembershipChange, Offer, Rooms, SendError, Snapshot, chain::Chain,
    create::raw, join::to_raw, queue::Work,
};
use crate::{
    outbound::Bounds,
    store::{AccountState, LogKind, Membership, NewMembership, RoomAppend, StoreError},
};

/// What an invited person is shown of a room before joining.
///
/// Spec: <https://spec.matrix.org/v1.19/client-server-api/#stripped-state>
const STRIPPED: [&str; 7] = [
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
];
/// The account data by which a user blocks invites.
const INVITE_PERMISSION: &str = "m.invite_permission_config";
/// Events that an invite may show of a room.
pub(super) const STRIPPED_EVENTS_MAX: usize = 50;
/// Longest stripped state that is stored with an invite, in bytes.
const STRIPPED_BYTES_MAX: usize = 64 * 1024;

impl Rooms {
    /// Invites a user, local or not; answers with the event.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn invite(
        self: &Arc<Self>,
        change: MembershipChange,
    ) -> Result<OwnedEventId, JoinError> {
        if self.is_local(&change.user) {
            if self.blocks_invites(&change.user).await? {
                return Err(JoinError::InviteBlocked);
            }
            return Ok(self.set_membership(change).await?);
        }
        let snapshot = self
            .snapshot(&change.room_id)
            .await?
            .ok_or(SendError::UnknownRoom)?;
        if !self.is_fit(&snapshot, change.user.server_name()).await? {
            return Err(JoinError::ExpiryRequired);
        }
        let signed = self.draft_invite(&snapshot, &change).await?;
        let signed = self.recommended(&snapshot, signed).await?;
        let server = change.user.server_name().to_owned();
        let state = self.stripped_state(&snapshot).await?;
        let request = create_invite::Request::new(
            change.room_id.clone(),
            signed.pdu().event_id.clone(),
            snapshot.version.clone(),
            to_raw(&signed)?,
            state.into_iter().map(RawStrippedState::Pdu).collect(),
        );
        let bounds = Bounds::INTERACTIVE;
        let answer = self.context.remote.call(&server, request, bounds).await;
        let answer = answer.map_err(|error| match error.errcode() {
            Some("M_INCOMPATIBLE_ROOM_VERSION" | "M_UNSUPPORTED_ROOM_VERSION") => {
                JoinError::UnsupportedByInvitee
            }
            _ => JoinError::NoServer(Some(error)),
        })?;
        let co_signed = self
            .with_signature_of(signed, &answer.event, &server, snapshot.rules)
            .await?;
        let offer = Offer {
            signed: co_signed,
            log: LogKind::OwedEvent,
            state_before: None,
            missing: Vec::new(),
        };
        let work = Work::Offer(Arc::new(offer));
        Ok(self.enqueue(change.room_id, work).await?)
    }

    /// Whether one of our users wants no invites from anybody.
    ///
    /// Spec: <https://spec.matrix.org/v1.19/client-server-api/#invite-permission>
    ///
    /// # Errors
    /// What the database says.
    pub async fn blocks_invites(&self, user: &UserId) -> Result<bool, StoreError> {
        let config = self
            .store()
            .account_datum(user, None, INVITE_PERMISSION)
            .await?;
        let config = config.and_then(|config| serde_json::from_str::<Value>(&config).ok());
        Ok(config.is_some_and(|config| config["default_action"] == "block"))
    }

    /// Builds and checks an invite without taking it in: the other server signs first.
    async fn draft_invite(
        &self,
        snapshot: &Snapshot,
        change: &MembershipChange,
    ) -> Result<SignedPdu, SendError> {
        let draft = Draft {
            room_id: change.room_id.clone(),
            sender: change.sender.clone(),
            kind: "m.room.member".into(),
            state_key: Some(change.user.to_string()),
            content: raw(&change.content),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        Chain::on(&self.context, snapshot).draft(&draft).await
    }

    /// What somebody outside is shown of a room: whole PDUs. The invite or the knock itself goes beside them.
    pub async fn stripped_state(
        &self,
        snapshot: &Snapshot,
    ) -> Result<Vec<Box<RawValue>>, JoinError> {
        let mut events = Vec::new();
        for kind in STRIPPED {
            let event = self
                .state_event(snapshot, &StateEventType::from(kind), "")
                .await?;
            if let Some(event) = event {
                let bytes = passeur_protocol::skeleton::join(
                    &event.skeleton,
                    event.content_at,
                    event.body().unwrap_or_default(),
                );
                events.push(serde_json::from_slice(&bytes).map_err(|_| JoinError::BadAnswer)?);
            }
        }
        Ok(events)
    }

    /// Looks at a room's access control list before anything else of an invite: "If the server is denied access to a room, the
    /// receiving server MUST reply with a 403".
    ///
    /// # Errors
    /// [`HostError::Forbidden`] if the server may not take part in the room.
    pub async fn expect_welcome(
        &self,
        origin: &ServerName,
        room: &RoomId,
    ) -> Result<(), HostError> {
        if let Some(snapshot) = self.snapshot(room).await?
            && !self.may_take_part(&snapshot, origin).await?
        {
            return Err(HostError::Forbidden);
        }
        Ok(())
    }

    /// Checks an invite of one of our users by a user of `origin`, and signs it as well.
    ///
    /// # Errors
    /// [`HostError::Mismatch`] if it is anything else, [`HostError::Forbidden`] if the server may
    /// not take part in the room or there is no such user, [`HostError::InviteBlocked`] if the user wants no invites.
    pub async fn accept_invite(
        &self,
        origin: &ServerName,
        invite: &IncomingInvite,
    ) -> Result<SignedPdu, HostError> {
        let version = &invite.version;
        let rules = passeur_protocol::versions::rules(version)
            .ok_or_else(|| HostError::Incompatible(version.clone()))?;
        let signed = self.verify(&invite.event, rules).await?;
        let pdu = signed.pdu();
        if pdu.event_id != invite.event_id {
            return Err(HostError::Mismatch);
        }
        let user = expect_invite(pdu, &invite.room_id, origin, &self.context.server_name);
        let user = user.map_err(|_| HostError::Mismatch)?;
        self.expect_welcome(origin, &pdu.room_id).await?;
        let account = self.store().account(&user).await?;
        if account.is_none_or(|account| account.state == AccountState::Deactivated) {
            return Err(HostError::Forbidden);
        }
        if self.blocks_invites(&user).await? {
            return Err(HostError::InviteBlocked);
        }
        // From version 12 on a room's name says which create event it has.
        if rules.authorization.room_create_event_id_as_room_id {
            self.expect_state_of(&pdu.room_id, invite, rules).await?;
        }
        let name = &self.context.server_name;
        let signed = signed.co_sign(name, &self.context.key_pair, rules);
        signed.map_err(|_| HostError::Mismatch)
    }

    /// Refuses what is shown of a room unless all of it are events of that room, the create event among them.
    async fn expect_state_of(
        &self,
        room: &RoomId,
        invite: &IncomingInvite,
        rules: &RoomVersionRules,
    ) -> Result<(), HostError> {
        let shown = &invite.stripped;
        if shown.len() > STRIPPED_EVENTS_MAX {
            return Err(HostError::Mismatch);
        }
        let mut has_create = false;
        for event in shown {
            let signed = match self.verify(event, rules).await {
                Ok(signed) => signed,
                Err(error) if error.is_passing() => return Err(error.into()),
                Err(_) => return Err(HostError::Mismatch),
            };
            if signed.pdu().room_id != room || signed.creates_other_than(&invite.version) {
                return Err(HostError::Mismatch);
            }
            has_create |= signed.pdu().kind == TimelineEventType::RoomCreate;
        }
        match has_create {
            true => Ok(()),
            false => Err(HostError::Mismatch),
        }
    }

    /// Stores an invite of one of ours to a room that this server is not in.
    ///
    /// # Errors
    /// What the database says.
    pub async fn keep_invite(
        &self,
        invite: &SignedPdu,
        stripped: &[Box<RawValue>],
    ) -> Result<(), JoinError> {
        let pdu = invite.pdu();
        // If we are in the room, the invite comes to us as an event of it.
        let resident = self.snapshot(&pdu.room_id).await?;
        if resident.is_some_and(|snapshot| !snapshot.members.local_joined.is_empty()) {
            return Ok(());
        }
        let user = pdu
            .state_key
            .as_deref()
            .and_then(|key| OwnedUserId::try_from(key).ok());
        let user = user.ok_or(JoinError::BadAnswer)?;
        let stripped = strip(stripped, pdu);
        self.store_out_of_room(
            &pdu.room_id,
            user,
            Membership::Invite,
            &pdu.event_id,
            Some(stripped),
        )
        .await
    }

    /// Stores the membership of one of ours in a room that we are not in.
    pub(super) async fn store_out_of_room(
        &self,
        room: &RoomId,
        user: OwnedUserId,
        membership: Membership,
        event_id: &OwnedEventId,
        stripped_state: Option<String>,
    ) -> Result<(), JoinError> {
        let user_rooms = Arc::clone(&self.user_rooms);
        let whose = user.clone();
        let append = RoomAppend {
            room_id: Some(room.to_owned()),
            members: vec![NewMembership {
                user_id: user,
                membership: Some(membership),
                event_id: event_id.clone(),
                is_local: true,
                stripped_state,
            }],
            on_disk: Some(Box::new(move |_| {
                user_rooms.remove(&whose);
            })),
            ..RoomAppend::default()
        };
        let _ = self.context.store.commit(append).await?;
        Ok(())
    }
}

/// An invite that another server brings.
#[derive(Debug)]
pub struct IncomingInvite {
    /// The room, as the path says.
    pub room_id: OwnedRoomId,
    /// The event's id, as the path says.
    pub event_id: OwnedEventId,
    /// The room's version, as the peer says.
    pub version: RoomVersionId,
    /// The event.
    pub event: Box<RawValue>,
    /// What the invited person is shown of the room.
    pub stripped: Vec<Box<RawValue>>,
}

/// An event of what a peer shows of a room.
#[expect(deprecated, reason = "older servers still send stripped events")]
pub fn into_json(state: RawStrippedState) -> Option<Box<RawValue>> {
    match state {
        RawStrippedState::Stripped(event) => Some(event.into_json()),
        RawStrippedState::Pdu(pdu) => Some(pdu),
        _ => None,
    }
}

/// The stripped state that is stored: type, state key, sender and content of each event, the
/// invite last; what does not fit is left out.
pub(super) fn strip(events: &[Box<RawValue>], invite: &passeur_protocol::pdu::Pdu) -> String {
    let mut stripped: Vec<Value> = Vec::new();
    let mut bytes = 0;
    for event in events {
        bytes += event.get().len();
        if bytes > STRIPPED_BYTES_MAX {
            break;
        }
        let Ok(event) = serde_json::from_str::<Value>(event.get()) else {
            continue;
        };
        let parts = (
            event["type"].as_str(),
            event["state_key"].as_str(),
            event["sender"].as_str(),
        );
        let (Some(kind), Some(state_key), Some(sender)) = parts else {
            continue;
        };
        if kind == "m.room.member" || !event["content"].is_object() {
            continue;
        }
        stripped.push(json!({
            "type": kind,
            "state_key": state_key,
            "sender": sender,
            "content": event["content"],
        }));
    }
    let content: Value = serde_json::from_str(invite.content.get()).unwrap_or_else(|_| json!({}));
    stripped.push(json!({
        "type": "m.room.member",
        "state_key": invite.state_key,
        "sender": invite.sender,
        "content": content,
    }));
    json!(stripped).to_string()
}
