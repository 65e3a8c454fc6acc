//! Leaving, and refusing invites of rooms that this server is not in.
//!
//! Invariant: a user can always leave: if the room's servers do not answer, the invite is gone on
//! our side all the same.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites>

use std::{sync::Arc, time::Duration};

use ruma::{
    OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, RoomVersionId, ServerName,
    api::federation::membership::{
        create_leave_event::v2 as create_leave_event,
        prepare_leave_event::v1 as prepare_leave_event,
    },
};
use serde_json::{Value, json};

use super::{JoinError, MembershipChange, Rooms, SendError, join::to_raw};
use crate::{
    clock::within,
    outbound::Bounds,
    store::{ForgetRoom, Membership, MembershipRow, StoreError},
};

/// Servers that are told of a refusal, in turn, until one hears it.
const SERVERS_MAX: usize = 3;
/// How long they are given for it, all together: a user waits.
const TIME_MAX: Duration = Duration::from_secs(20);

impl Rooms {
    /// Leaves a room, or refuses an invite or takes back a knock.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn leave(
        self: &Arc<Self>,
        room: &RoomId,
        user: &OwnedUserId,
        reason: Option<&str>,
    ) -> Result<(), JoinError> {
        let mut content = json!({ "membership": "leave" });
        if let Some(reason) = reason {
            content["reason"] = json!(reason);
        }
        let memberships = self.memberships(user).await?;
        let row = memberships.get(room).ok_or(SendError::UnknownRoom)?;
        let snapshot = self.snapshot(room).await?;
        let resident = snapshot.filter(|snapshot| !snapshot.members.local_joined.is_empty());
        if let Some(snapshot) = resident {
            // A client that has not heard the answer asks again.
            let known = snapshot.members.by_user.get(user);
            if known.is_some_and(|known| known.membership == Membership::Leave) {
                return Ok(());
            }
            let change = MembershipChange {
                room_id: room.to_owned(),
                sender: user.clone(),
                user: user.clone(),
                content,
            };
            self.set_membership(change).await?;
            return Ok(());
        }
        if !matches!(row.membership, Membership::Invite | Membership::Knock) {
            return Ok(());
        }
        // A task of its own: it comes to its end though the client may not wait for it.
        let (rooms, room) = (Arc::clone(self), room.to_owned());
        let (user, row) = (user.clone(), row.clone());
        let refusing = tokio::spawn(async move { rooms.refuse(&room, user, &row, content).await });
        refusing
            .await
            .unwrap_or(Err(JoinError::Send(SendError::Storage)))
    }

    /// Tells one of the servers that may hear it, and keeps that the user is out of the room even if none does.
    async fn refuse(
        self: &Arc<Self>,
        room: &RoomId,
        user: OwnedUserId,
        row: &MembershipRow,
        content: Value,
    ) -> Result<(), JoinError> {
        let telling = async {
            // What is to be left names these servers, and may name as many as it likes.
            let servers = inviting_servers(row).into_iter();
            let others = servers.filter(|server| *server != self.context.server_name);
            for server in others.take(SERVERS_MAX) {
                if self.try_leave(room, &user, &content, &server).await.is_ok() {
                    break;
                }
            }
        };
        if within(&*self.context.clock, TIME_MAX, telling)
            .await
            .is_err()
        {
            tracing::debug!("no server heard in time that a user is not coming");
        }
        self.store_out_of_room(room, user.clone(), Membership::Leave, &row.event_id, None)
            .await
    }

    /// Forgets a room: the user is shown nothing more of it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn forget(&self, room: OwnedRoomId, user: OwnedUserId) -> Result<(), StoreError> {
        self.context
            .store
            .commit(ForgetRoom {
                room,
                user: user.clone(),
            })
            .await?;
        self.forget_memberships(&user);
        Ok(())
    }

    async fn try_leave(
        self: &Arc<Self>,
        room: &RoomId,
        user: &OwnedUserId,
        content: &Value,
        server: &ServerName,
    ) -> Result<(), JoinError> {
        let remote = &self.context.remote;
        let request = prepare_leave_event::Request::new(room.to_owned(), user.clone());
        let answer = remote.call(server, request, Bounds::INTERACTIVE).await;
        let answer = answer.map_err(|error| JoinError::NoServer(Some(error)))?;
        let version = answer.room_version.unwrap_or(RoomVersionId::V1);
        let leave = self.sign_member(room, user, content, &version, &answer.event)?;
        let event_id = leave.pdu().event_id.clone();
        let request = create_leave_event::Request::new(room.to_owned(), event_id, to_raw(&leave)?);
        let answer = remote.call(server, request, Bounds::INTERACTIVE).await;
        answer.map_err(|error| JoinError::NoServer(Some(error)))?;
        Ok(())
    }
}

/// The servers that may know a room of which we hold no more than an invite: those of the people
/// in its stripped state, the inviter's first.
pub(super) fn inviting_servers(row: &MembershipRow) -> Vec<OwnedServerName> {
    let stripped = row.stripped_state.as_deref().unwrap_or("[]");
    let events: Vec<Value> = serde_json::from_str(stripped).unwrap_or_default();
    let mut servers: Vec<OwnedServerName> = Vec::new();
    for event in events.iter().rev() {
        let sender = event["sender"]
            .as_str()
            .and_then(|id| OwnedUserId::try_from(id).ok());
        if let Some(server) = sender.map(|sender| sender.server_name().to_owned())
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    servers
}
