//! Invites taken back and knocks turned down, of people of ours in rooms that this server is not in.
//!
//! Invariant: a peer ends only an invite that came from it, or a knock on a room that it was shown
//! to be in; the event is verified like any other.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites>

use passeur_protocol::{signed::SignedPdu, versions, visibility::membership_of};
use ruma::{OwnedEventId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId, ServerName};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{JoinError, ReceiveError, Rooms, leave::inviting_servers};
use crate::store::{Membership, MembershipRow};

/// What an event must say to be looked at.
#[derive(Deserialize)]
struct Claim {
    #[serde(rename = "type")]
    kind: String,
    state_key: OwnedUserId,
}

impl Rooms {
    /// Takes the end of an invite or a knock of one of ours, in a room that this server is not in.
    pub(super) async fn receive_outside(
        &self,
        origin: &ServerName,
        room: &RoomId,
        pdu: &RawValue,
    ) -> Result<OwnedEventId, ReceiveError> {
        let unknown = || ReceiveError::UnknownRoom;
        let claim: Claim = serde_json::from_str(pdu.get()).map_err(|_| unknown())?;
        if claim.kind != "m.room.member" || !self.is_local(&claim.state_key) {
            return Err(unknown());
        }
        let memberships = self.memberships(&claim.state_key).await?;
        let row = memberships.get(room).ok_or_else(unknown)?;
        let is_pending = matches!(row.membership, Membership::Invite | Membership::Knock);
        if !is_pending {
            return Err(unknown());
        }
        let signed = self.verify_by_any(pdu, version_of(row)).await?;
        let pdu = signed.pdu();
        let membership = membership_of(Some(pdu));
        let shown: Vec<OwnedServerName> = inviting_servers(row);
        let ends = matches!(membership, Membership::Leave | Membership::Ban)
            && pdu.room_id == room
            && pdu.sender.server_name() == origin
            && shown.iter().any(|server| server == origin);
        if !ends {
            return Err(unknown());
        }
        let (user, id) = (claim.state_key, &pdu.event_id);
        match self
            .store_out_of_room(room, user, membership, id, None)
            .await
        {
            Ok(()) => Ok(id.clone()),
            Err(JoinError::Send(error)) => Err(error.into()),
            Err(_) => Err(unknown()),
        }
    }
}

impl Rooms {
    /// Verifies an event by the rules of the room's version. An invite need not show it; then it is of the newest version
    /// by whose rules the event holds.
    async fn verify_by_any(
        &self,
        pdu: &RawValue,
        version: Option<RoomVersionId>,
    ) -> Result<SignedPdu, ReceiveError> {
        let mut outcome = Err(ReceiveError::UnknownRoom);
        for supported in versions::supported().iter().rev() {
            if version.as_ref().is_some_and(|shown| *shown != supported.id) {
                continue;
            }
            if let Some(rules) = versions::rules(&supported.id) {
                outcome = self.verify(pdu, rules).await;
            }
            if !matches!(outcome, Err(ReceiveError::Dropped(_))) {
                break;
            }
        }
        outcome
    }
}

/// The version of a room, as far as an invite or a knock shows it.
fn version_of(row: &MembershipRow) -> Option<RoomVersionId> {
    let shown: Vec<Value> = serde_json::from_str(row.stripped_state.as_deref()?).ok()?;
    let create = shown
        .iter()
        .find(|event| event["type"] == "m.room.create")?;
    create["content"]["room_version"].as_str()?.try_into().ok()
}
