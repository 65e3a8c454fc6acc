//! Knocking: asking to be invited.
//!
//! Invariant: of a room that this server is not in, a knock leaves no more than a membership of our
//! user with stripped state of bounded size.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#knocking-rooms>

use std::{sync::Arc, time::Duration};

use passeur_protocol::versions;
use ruma::{
    OwnedServerName, OwnedUserId, RoomId, ServerName,
    api::federation::membership::{
        create_knock_event::v1 as create_knock_event,
        prepare_knock_event::v1 as prepare_knock_event,
    },
    room_version_rules::RoomVersionRules,
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};

use super::{
    JoinError, MembershipChange, Rooms,
    invite::{STRIPPED_EVENTS_MAX, into_json, strip},
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
        let rules = versions::rules(&answer.room_version).ok_or(JoinError::BadAnswer)?;
        let id = knock.pdu().event_id.clone();
        let request =
            create_knock_event::Request::new(room.to_owned(), id.clone(), to_raw(&knock)?);
        let answer = remote.call(server, request, Bounds::INTERACTIVE).await;
        let answer = answer.map_err(|error| JoinError::NoServer(Some(error)))?;
        let mut shown = Vec::new();
        let told = answer.knock_room_state.into_iter().filter_map(into_json);
        for event in told.take(STRIPPED_EVENTS_MAX) {
            shown.extend(self.verified_state(room, rules, event).await);
        }
        let stripped = strip(&shown, knock.pdu());
        self.store_out_of_room(room, user.clone(), Membership::Knock, &id, Some(stripped))
            .await
    }

    /// An event that a server shows of a room, if it is one: "Entries which are improperly signed or formatted SHOULD be removed".
    async fn verified_state(
        &self,
        room: &RoomId,
        rules: &RoomVersionRules,
        event: Box<RawValue>,
    ) -> Option<Box<RawValue>> {
        #[derive(Deserialize)]
        struct Unsigned {
            signatures: Option<IgnoredAny>,
        }
        let is_old = !rules.authorization.room_create_event_id_as_room_id;
        // Servers that are older than this demand show what clients are shown, which nobody signed.
        if is_old
            && serde_json::from_str::<Unsigned>(event.get())
                .ok()?
                .signatures
                .is_none()
        {
            return Some(event);
        }
        let signed = self.verify(&event, rules).await.ok()?;
        if signed.pdu().room_id != room {
            return None;
        }
        serde_json::from_slice(signed.json()).ok()
    }
}
