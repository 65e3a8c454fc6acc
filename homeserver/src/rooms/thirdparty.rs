//! Invites of people of whom only a third-party identifier was known.
//!
//! Invariant: whether the identity server's signature holds, the room's rules decide, by the keys in
//! the room's own state; this server works with no identity server.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#third-party-invites>

use std::sync::Arc;

use ruma::{
    OwnedRoomId, OwnedUserId, ServerName,
    api::federation::thirdparty::exchange_invite::v1 as exchange_invite,
    events::{StateEventType, room::member::RoomMemberEventContent},
    serde::Raw,
};
use serde_json::{Value, json};

use super::{HostError, JoinError, MembershipChange, Rooms, create::raw};
use crate::outbound::Bounds;

/// An invite that a third-party identifier was sent, now that its owner is known.
#[derive(Clone, Debug)]
pub struct ThirdPartyInvite {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Who invited.
    pub sender: OwnedUserId,
    /// Who turned out to be invited.
    pub user: OwnedUserId,
    /// What the identity server signed: user, token, signatures.
    pub signed: Value,
}

impl Rooms {
    /// Makes an invite of one by one of ours, because `origin` asks for it.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn exchange(
        self: &Arc<Self>,
        origin: &ServerName,
        invite: ThirdPartyInvite,
    ) -> Result<(), HostError> {
        let snapshot = self.resident(origin, &invite.room_id).await?;
        let is_for_user = invite.signed["mxid"] == invite.user.as_str();
        let token = invite.signed["token"].as_str().filter(|_| is_for_user);
        let token = token.ok_or(HostError::Mismatch)?;
        if !self.is_local(&invite.sender) {
            return Err(HostError::Mismatch);
        }
        let kind = StateEventType::RoomThirdPartyInvite;
        let event = self.state_event(&snapshot, &kind, token).await?;
        let event = event.ok_or(HostError::Forbidden)?;
        let shown: Value = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
        let change = MembershipChange {
            room_id: invite.room_id,
            sender: invite.sender,
            user: invite.user,
            content: json!({
                "membership": "invite",
                "third_party_invite": {
                    "display_name": shown["display_name"].as_str().unwrap_or_default(),
                    "signed": invite.signed,
                },
            }),
        };
        self.invite(change).await?;
        Ok(())
    }

    /// Makes an invite of one, or asks the inviting server to.
    ///
    /// # Errors
    /// See [`HostError`].
    pub async fn bind(self: &Arc<Self>, invite: ThirdPartyInvite) -> Result<(), HostError> {
        if self.is_local(&invite.sender) {
            let ours = &self.context.server_name;
            return self.exchange(ours, invite).await;
        }
        let server = invite.sender.server_name().to_owned();
        let content = json!({
            "membership": "invite",
            "third_party_invite": { "display_name": "", "signed": invite.signed },
        });
        let content: Raw<RoomMemberEventContent> = Raw::from_json(raw(&content));
        let request =
            exchange_invite::Request::new(invite.room_id, invite.sender, invite.user, content);
        let asked = self
            .context
            .remote
            .call(&server, request, Bounds::INTERACTIVE);
        match asked.await {
            Ok(_) => Ok(()),
            Err(error) => Err(JoinError::NoServer(Some(error)).into()),
        }
    }
}
