//! Knocking: asking to be invited.
//!
//! Invariant: of a room that this server is not in, a knock leaves no more than a membership of our
//! user with stripped state of bounded size.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#knocking-rooms>

use std::{sync::Arc, time::Duration};

use ruma::{
    OwnedServerName, OwnedUserId, RoomId, ServerName,
    api::federation::membership::{
        create_knock_event::v1 as create_knock_event,
        prepare_knock_event::v1 as prepare_knock_event,
    },
};
use serde_json::Value;

use super::{
    JoinError, MembershipChange, Rooms,
    invite::{into_json, strip},
    join::{Way, more_telling, to_raw, versions_for_peers},
};
use crate::{
    clock::within,
    outbound::{Bounds, RemoteError},
    store::Membership,
};

/// How long all servers together are given: a user waits.
const TIME_MAX: Duration = Duration::from_secs(60);

impl Rooms {
    /// Knocks on a room: here if this server is in it, else through `servers`.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn knock(
        self: &Arc<Self>,
        room: &RoomId,
        user: &OwnedUserId,
        reason: Option<&str>,
        servers: Vec<OwnedServerName>,
    ) -> Result<(), JoinError> {
        let mut content = self.profile_of(user).await?.member("knock", false);
        if let Some(reason) = reason {
            content["reason"] = reason.into();
        }
        let servers = match self.way_into(room, user, servers).await? {
            Way::Here(_) => {
                let change = MembershipChange {
                    room_id: room.to_owned(),
                    sender: user.clone(),
                    user: user.clone(),
                    content,
                };
                self.set_membership(change).await?;
                return Ok(());
            }
            Way::Through(servers) => servers,
        };
        let knocking = async {
            let mut last = JoinError::NoServer(None);
            for server in &servers {
                match self.try_knock(room, user, &content, server).await {
                    Ok(()) => return Ok(()),
                    Err(error @ JoinError::Send(_)) => return Err(error),
                    Err(error) => last = more_telling(last, error),
                }
            }
            Err(last)
        };
        within(&*self.context.clock, TIME_MAX, knocking)
            .await
            .unwrap_or(Err(JoinError::NoServer(Some(RemoteError::Timeout))))
    }

    async fn try_knock(
        &self,
        room: &RoomId,
        user: &OwnedUserId,
        content: &Value,
        server: &ServerName,
    ) -> Result<(), JoinError> {
        let remote = &self.context.remote;
        let mut request = prepare_knock_event::Request::new(room.to_owned(), user.clone());
        request.ver = versions_for_peers();
        let answer = remote.call(server, request, Bounds::INTERACTIVE).await;
        let answer = answer.map_err(|error| JoinError::NoServer(Some(error)))?;
        let knock = self.sign_member(room, user, content, &answer.room_version, &answer.event)?;
        let id = knock.pdu().event_id.clone();
        let request =
            create_knock_event::Request::new(room.to_owned(), id.clone(), to_raw(&knock)?);
        let answer = remote.call(server, request, Bounds::INTERACTIVE).await;
        let answer = answer.map_err(|error| JoinError::NoServer(Some(error)))?;
        let shown: Vec<_> = answer
            .knock_room_state
            .into_iter()
            .filter_map(into_json)
            .collect();
        let stripped = strip(&shown, knock.pdu());
        self.store_out_of_room(room, user.clone(), Membership::Knock, &id, Some(stripped))
            .await
    }
}
