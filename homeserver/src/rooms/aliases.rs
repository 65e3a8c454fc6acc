//! Aliases of rooms: ours are rows, others' are asked for.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-aliases>

use std::sync::Arc;

use http::StatusCode;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomAliasId, RoomId, UserId,
    api::federation::query::get_room_information::v1 as get_room_information,
    events::StateEventType,
};
use serde_json::{Map, Value};

use super::{Draft, JoinError, Rooms, create::raw};
use crate::{
    outbound::Bounds,
    store::{DeleteAlias, NewAlias, StoreError},
};

/// Servers that are named for joining through.
const SERVERS_MAX: usize = 20;

impl Rooms {
    /// Makes a local alias; answers whether it was free.
    ///
    /// # Errors
    /// What the database says.
    pub async fn make_alias(
        &self,
        alias: OwnedRoomAliasId,
        room_id: OwnedRoomId,
        creator: OwnedUserId,
    ) -> Result<bool, StoreError> {
        let change = NewAlias {
            alias,
            room_id,
            creator,
        };
        Ok(self.context.store.commit(change).await?.output)
    }

    /// Removes a local alias, and takes it out of the room's canonical aliases if the user may change them.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remove_alias(
        self: &Arc<Self>,
        alias: OwnedRoomAliasId,
        room: &RoomId,
        user: &UserId,
    ) -> Result<(), StoreError> {
        self.context
            .store
            .commit(DeleteAlias(alias.clone()))
            .await?;
        let Some(content) = self.canonical_without(room, &alias).await? else {
            return Ok(());
        };
        let draft = Draft {
            room_id: room.to_owned(),
            sender: user.to_owned(),
            kind: StateEventType::RoomCanonicalAlias.to_string().into(),
            state_key: Some(String::new()),
            content: raw(&Value::Object(content)),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        };
        // "delete the alias and return a successful response even if the user does not have permission to update the
        // m.room.canonical_alias event"
        if let Err(error) = self.send(draft).await {
            tracing::debug!(%error, "a removed alias stays among the canonical ones");
        }
        Ok(())
    }

    /// The content of the room's canonical aliases without one of them, if it is there.
    async fn canonical_without(
        &self,
        room: &RoomId,
        alias: &RoomAliasId,
    ) -> Result<Option<Map<String, Value>>, StoreError> {
        let Some(snapshot) = self.snapshot(room).await? else {
            return Ok(None);
        };
        let kind = StateEventType::RoomCanonicalAlias;
        let Some(event) = self.state_event(&snapshot, &kind, "").await? else {
            return Ok(None);
        };
        let content = serde_json::from_str(event.pdu.content.get());
        let Ok(mut content) = content.map_err(drop) else {
            return Ok(None);
        };
        let before: Map<String, Value> = Map::clone(&content);
        if content.get("alias").and_then(Value::as_str) == Some(alias.as_str()) {
            content.remove("alias");
        }
        if let Some(others) = content.get_mut("alt_aliases").and_then(Value::as_array_mut) {
            others.retain(|other| other.as_str() != Some(alias.as_str()));
        }
        Ok((content != before).then_some(content))
    }

    /// The room behind an alias and servers that are in it.
    ///
    /// # Errors
    /// What the database says; [`JoinError::NoServer`] if the alias' server does not answer, or something else than that
    /// it knows no such alias.
    pub async fn resolve_alias(
        self: &Arc<Self>,
        alias: &RoomAliasId,
    ) -> Result<Option<(OwnedRoomId, Vec<OwnedServerName>)>, JoinError> {
        if alias.server_name() != self.context.server_name {
            let request = get_room_information::Request::new(alias.to_owned());
            let answer = self
                .context
                .remote
                .call(alias.server_name(), request, Bounds::INTERACTIVE)
                .await;
            return match answer {
                Ok(answer) => {
                    let mut servers = answer.servers;
                    servers.truncate(SERVERS_MAX);
                    Ok(Some((answer.room_id, servers)))
                }
                Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
                Err(error) => Err(JoinError::NoServer(Some(error))),
            };
        }
        let Some(room) = self.context.store.room_of_alias(alias).await? else {
            return Ok(None);
        };
        let servers = self.servers_of(&room).await?;
        Ok(Some((room, servers)))
    }

    /// Servers that are in a room, ours first if it is.
    ///
    /// # Errors
    /// What the database says.
    pub async fn servers_of(
        &self,
        room: &ruma::RoomId,
    ) -> Result<Vec<OwnedServerName>, StoreError> {
        let Some(snapshot) = self.snapshot(room).await? else {
            return Ok(Vec::new());
        };
        let mut servers: Vec<_> = snapshot
            .members
            .servers
            .iter()
            .map(|(server, count)| (*count, server))
            .collect();
        servers.sort_by_key(|(count, server)| {
            (
                **server != *self.context.server_name,
                std::cmp::Reverse(*count),
            )
        });
        Ok(servers
            .into_iter()
            .take(SERVERS_MAX)
            .map(|(_, server)| server.clone())
            .collect())
    }
}
