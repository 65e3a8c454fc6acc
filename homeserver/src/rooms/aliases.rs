//! Aliases of rooms: ours are rows, others' are asked for.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-aliases>

use std::sync::Arc;

use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomAliasId,
    api::federation::query::get_room_information::v1 as get_room_information,
};

use super::Rooms;
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

    /// Removes a local alias.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remove_alias(&self, alias: OwnedRoomAliasId) -> Result<(), StoreError> {
        self.context.store.commit(DeleteAlias(alias)).await?;
        Ok(())
    }

    /// The room behind an alias and servers that are in it.
    ///
    /// # Errors
    /// What the database says; a peer that does not answer knows no alias.
    pub async fn resolve_alias(
        self: &Arc<Self>,
        alias: &RoomAliasId,
    ) -> Result<Option<(OwnedRoomId, Vec<OwnedServerName>)>, StoreError> {
        if alias.server_name() != self.context.server_name {
            let request = get_room_information::Request::new(alias.to_owned());
            let answer = self
                .context
                .remote
                .call(alias.server_name(), request, Bounds::INTERACTIVE)
                .await;
            return Ok(answer.ok().map(|answer| {
                let mut servers = answer.servers;
                servers.truncate(SERVERS_MAX);
                (answer.room_id, servers)
            }));
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
