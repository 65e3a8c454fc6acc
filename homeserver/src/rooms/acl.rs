//! A room's access control list, compiled once for each event that sets it.
//!
//! Invariant: an event never changes, so neither does what was compiled from it; a list that a redaction or expiry took away is
//! compiled from what is left, under the same event, once it is read anew.
//!
//! Spec: <https://spec.matrix.org/v1.19/server-server-api/#server-access-control-lists-acls>

use std::sync::Arc;

use passeur_protocol::server_acl::ServerAcl;
use quick_cache::sync::Cache;
use ruma::{OwnedEventId, ServerName, events::StateEventType};

use super::{Rooms, Snapshot};
use crate::store::StoreError;

/// Lists that are remembered: one is as large as its event, at most.
const LISTS_MAX: usize = 2_000;

/// Compiled lists: by the event, and whether its body was there.
pub(super) type AclCache = Cache<(OwnedEventId, bool), Arc<ServerAcl>>;

/// A new, empty cache.
pub(super) fn acl_cache() -> AclCache {
    Cache::new(LISTS_MAX)
}

impl Rooms {
    /// Whether the room's access control list lets a server take part.
    ///
    /// # Errors
    /// What the database says.
    pub async fn may_take_part(
        &self,
        snapshot: &Snapshot,
        server: &ServerName,
    ) -> Result<bool, StoreError> {
        let kind = StateEventType::RoomServerAcl;
        let Some(event) = self.state_event(snapshot, &kind, "").await? else {
            return Ok(true);
        };
        let key = (event.id().to_owned(), event.has_body());
        if let Some(acl) = self.acls.get(&key) {
            return Ok(acl.is_allowed(server));
        }
        let acl = Arc::new(ServerAcl::new(&event.pdu.content));
        let is_allowed = acl.is_allowed(server);
        self.acls.insert(key, acl);
        Ok(is_allowed)
    }
}
