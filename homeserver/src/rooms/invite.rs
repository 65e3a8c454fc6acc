//! Invites across servers.
//!
//! Invariant: the invited user's server is asked to sign before the invite enters the room; a
//! server that is invited stores the invite as its user's own, with stripped state of bounded
//! size, and learns nothing else of the room.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room>

use std::sync::Arc;

use passeur_protocol::signed::SignedPdu;
use ruma::{
    OwnedEventId, OwnedUserId, RoomVersionId, ServerName, UserId,
    api::federation::membership::{RawStrippedState, create_invite::v2 as create_invite},
    events::{StateEventType, TimelineEventType},
};
use serde_json::{Value, json, value::RawValue};

use super::{
    Draft, JoinError, MembershipChange, Offer, Rooms, SendError, Snapshot,
    chain::{Chain, membership_of},
    create::raw,
    join::to_raw,
    queue::Work,
};
use crate::{
    outbound::Bounds,
    store::{LogKind, Membership, NewMembership, RoomAppend},
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
/// Longest stripped state that is stored with an invite, in bytes.
const STRIPPED_BYTES_MAX: usize = 64 * 1024;

impl Rooms {
    /// Invites a user, local or not.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn invite(self: &Arc<Self>, change: MembershipChange) -> Result<(), JoinError> {
        if self.is_local(&change.user) {
            self.set_membership(change).await?;
            return Ok(());
        }
        let snapshot = self
            .snapshot(&change.room_id)
            .await?
            .ok_or(SendError::UnknownRoom)?;
        let signed = self.draft_invite(&snapshot, &change).await?;
        let server = change.user.server_name().to_owned();
        let state = self.stripped_state(&snapshot, Some(&signed)).await?;
        let request = create_invite::Request::new(
            change.room_id.clone(),
            signed.pdu().event_id.clone(),
            snapshot.version.clone(),
            to_raw(&signed)?,
            state.into_iter().map(RawStrippedState::Pdu).collect(),
        );
        let bounds = Bounds::INTERACTIVE;
        let answer = self.context.remote.call(&server, request, bounds).await;
        let answer = answer.map_err(|error| JoinError::NoServer(Some(error)))?;
        let co_signed = self.verify(&answer.event, snapshot.rules).await;
        let co_signed = co_signed.map_err(|_| JoinError::BadAnswer)?;
        if co_signed.pdu().event_id != signed.pdu().event_id {
            return Err(JoinError::BadAnswer);
        }
        let offer = Offer {
            signed: co_signed,
            log: LogKind::OwedEvent,
            state_before: None,
            missing: Vec::new(),
        };
        self.enqueue(change.room_id, Work::Offer(Arc::new(offer)))
            .await?;
        Ok(())
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

    /// What an invited person is shown of a room: whole PDUs, the invite itself among them.
    pub async fn stripped_state(
        &self,
        snapshot: &Snapshot,
        invite: Option<&SignedPdu>,
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
                    event.body.as_deref().unwrap_or_default(),
                );
                events.push(serde_json::from_slice(&bytes).map_err(|_| JoinError::BadAnswer)?);
            }
        }
        if let Some(invite) = invite {
            events.push(to_raw(invite)?);
        }
        Ok(events)
    }

    /// Checks an invite of one of our users by a user of `origin`, and signs it as well.
    ///
    /// # Errors
    /// [`JoinError::BadAnswer`] if it is anything else.
    pub async fn accept_invite(
        &self,
        origin: &ServerName,
        version: &RoomVersionId,
        event: &RawValue,
    ) -> Result<SignedPdu, JoinError> {
        let rules =
            passeur_protocol::versions::rules(version).ok_or(JoinError::UnsupportedVersion)?;
        let signed = self
            .verify(event, rules)
            .await
            .map_err(|_| JoinError::BadAnswer)?;
        let pdu = Arc::clone(signed.pdu());
        let user = pdu
            .state_key
            .as_deref()
            .and_then(|key| <&UserId>::try_from(key).ok());
        let is_invite = pdu.kind == TimelineEventType::RoomMember
            && membership_of(&pdu) == Membership::Invite
            && pdu.sender.server_name() == origin
            && user.is_some_and(|user| self.is_local(user));
        if !is_invite {
            return Err(JoinError::BadAnswer);
        }
        let signed = signed
            .co_sign(&self.context.server_name, &self.context.key_pair, rules)
            .map_err(|_| JoinError::BadAnswer)?;
        Ok(signed)
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
        room: &ruma::RoomId,
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

/// The stripped state that is stored: type, state key, sender and content of each event, the
/// invite last; what does not fit is left out.
fn strip(events: &[Box<RawValue>], invite: &passeur_protocol::pdu::Pdu) -> String {
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
