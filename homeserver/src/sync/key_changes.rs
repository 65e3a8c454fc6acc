//! Whose keys changed between two syncs that a client had: the device lists of a sync, asked for alone.
//!
//! Invariant: what a sync over the same interval would tell in `device_lists` is told here too; where the log is too long to be
//! followed member by member, everybody in the room counts as changed.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges>

use std::collections::{BTreeSet, HashSet};

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, UserId,
    events::{StateEventType, TimelineEventType},
};

use super::{Sync, SyncError, TokenError, device_lists::DeviceLists, token::SyncToken};
use crate::{
    rooms::Snapshot,
    store::{LogEnd, LogKind, LogRow, Membership, Scope, StoreError},
};

/// Rows of a room's log that are followed one by one.
const ROWS_PER_ROOM_MAX: u64 = 5000;

/// Users whose keys a client must ask for again, and users whom it need not track any longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// Whose keys changed, or who came to share a room.
    pub changed: BTreeSet<OwnedUserId>,
    /// With whom no room is shared any longer.
    pub left: BTreeSet<OwnedUserId>,
}

impl Sync {
    /// What changed for a user after one token, up to another.
    ///
    /// # Errors
    /// [`SyncError::Token`] for a token that lies ahead of everything, [`SyncError::Store`].
    pub async fn key_changes(
        &self,
        user: &UserId,
        from: SyncToken,
        to: SyncToken,
    ) -> Result<KeyChanges, SyncError> {
        if from.position.max(to.position) > self.feeds.seen() {
            return Err(TokenError.into());
        }
        let (after, upto) = (from.position, to.position);
        let mut lists = DeviceLists::default();
        if after < upto {
            self.add_members_since(user, &mut lists, after, upto)
                .await?;
        }
        let lists = self.finish_device_lists(user, lists, after, upto).await?;
        Ok(lists.into_changes())
    }

    async fn add_members_since(
        &self,
        user: &UserId,
        lists: &mut DeviceLists,
        after: i64,
        upto: i64,
    ) -> Result<(), StoreError> {
        let moved = self.rooms_moved(user, after, upto).await?;
        let memberships = self.context.rooms.memberships(user).await?;
        for (room, row) in memberships.iter() {
            let has_moved = moved.contains(room);
            // Whoever was invited again after leaving is gone all the same.
            let is_joined = row.membership == Membership::Join;
            if !(is_joined || has_moved) {
                continue;
            }
            let Some(snapshot) = self.context.rooms.snapshot(room).await? else {
                continue;
            };
            match (is_joined, has_moved) {
                (true, true) => lists.joined(&snapshot),
                (true, false) => {
                    self.add_members_of(lists, &snapshot, after, upto).await?;
                }
                (false, _) => {
                    let standing = self.context.rooms.standing(room, user).await?;
                    if let Some(stay) = self.stay(user, Some(after), &standing).await? {
                        lists.left(&snapshot, &stay.end);
                    }
                }
            }
        }
        Ok(())
    }

    /// The rooms in which the user's own membership changed.
    async fn rooms_moved(
        &self,
        user: &UserId,
        after: i64,
        upto: i64,
    ) -> Result<HashSet<OwnedRoomId>, StoreError> {
        Ok(self
            .own_changes(user, Some(after), upto, true)
            .await?
            .memberships)
    }

    /// Who came to a room or went, whatever of it is shown.
    pub(super) async fn add_members_of(
        &self,
        lists: &mut DeviceLists,
        snapshot: &Snapshot,
        after: i64,
        upto: i64,
    ) -> Result<(), StoreError> {
        let (store, room) = (&self.context.store, &snapshot.room_id);
        if store.newest_of(Scope::Room(room)).await? <= after {
            return Ok(());
        }
        let limit = ROWS_PER_ROOM_MAX;
        let rows = store
            .log_of(Scope::Room(room), after, upto, LogEnd::Oldest, limit)
            .await?;
        if rows.len() as u64 == limit {
            lists.joined(snapshot);
            return Ok(());
        }
        let events = rows.iter().filter(|row| row.kind.is_event());
        let ids = events.filter_map(|row| row.reference.as_deref());
        let ids: Vec<OwnedEventId> = ids.filter_map(|id| id.try_into().ok()).collect();
        for event in store.events(&ids).await? {
            if event.pdu.kind == TimelineEventType::RoomMember
                && let Some(key) = &event.pdu.state_key
            {
                lists.member(snapshot, key);
            }
        }
        for row in &rows {
            for key in members_resolved(row) {
                lists.member(snapshot, &key);
            }
        }
        Ok(())
    }
}

/// The members whom a row of resolved state is about.
fn members_resolved(row: &LogRow) -> Vec<String> {
    if row.kind != LogKind::ResolvedState {
        return Vec::new();
    }
    let places = row.reference.as_deref().map(serde_json::from_str);
    let places: Vec<(StateEventType, String)> = places.and_then(Result::ok).unwrap_or_default();
    let members = places
        .into_iter()
        .filter(|(kind, _)| *kind == StateEventType::RoomMember);
    members.map(|(_, key)| key).collect()
}
