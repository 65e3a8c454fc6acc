//! Servers in a room that do not say that they destroy what expires: shown to its members, and kept out where the room's policy
//! requires support.
//!
//! Invariant: where support is required, this server neither lets in nor invites users of a server that does not claim it.
//! A server that is in the room already, or is let in by another one, is not kept out by this.
//!
//! No part of the specification.

use ruma::{OwnedServerName, ServerName};

use super::{Rooms, Snapshot};
use crate::{outbound::Support, store::StoreError};

/// The servers of a room that do not say that they destroy what expires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServersWithoutSupport {
    /// Those that have answered, and do not say so.
    pub lacking: Vec<OwnedServerName>,
    /// Those that have not answered yet.
    pub unknown: Vec<OwnedServerName>,
}

impl Rooms {
    /// Whether a server may be let into a room, as far as its policy says what servers must support.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn is_fit(
        &self,
        snapshot: &Snapshot,
        server: &ServerName,
    ) -> Result<bool, StoreError> {
        let policy = self.policy_at(&snapshot.state).await?;
        if policy.is_none_or(|policy| !policy.require_support) {
            return Ok(true);
        }
        Ok(self.support.of(server).await == Support::Claimed)
    }

    /// Which servers with joined users do not say that they destroy what expires.
    pub async fn servers_without_support(&self, snapshot: &Snapshot) -> ServersWithoutSupport {
        let servers: Vec<_> = snapshot.members.servers.keys().cloned().collect();
        let mut without = ServersWithoutSupport::default();
        for (server, support) in self.support.survey(&servers).await {
            match support {
                Support::Claimed => {}
                Support::Lacking => without.lacking.push(server),
                Support::Unknown => without.unknown.push(server),
            }
        }
        without
    }
}
