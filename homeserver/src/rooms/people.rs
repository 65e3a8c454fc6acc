//! Whom a user may find: those in the same rooms, and those in rooms that are open to everybody.
//!
//! Invariant: at most [`OPEN_ROOMS_MAX`] rooms are looked at beside one's own; nobody is found by a
//! room that neither is the user's nor open.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch>

use std::collections::BTreeMap;

use passeur_protocol::visibility::visibility_of;
use ruma::{
    OwnedEventId, OwnedUserId, UserId,
    events::{StateEventType, room::history_visibility::HistoryVisibility},
};
use serde::Deserialize;

use super::{Rooms, Snapshot};
use crate::store::{Membership, StoreError};

/// Rooms beside the user's own that are looked at.
const OPEN_ROOMS_MAX: u64 = 2_000;

impl Rooms {
    /// The people whom a local user may find, each with a member event that says how they appear.
    ///
    /// # Errors
    /// What the database says.
    pub async fn people_visible_to(
        &self,
        user: &UserId,
    ) -> Result<BTreeMap<OwnedUserId, OwnedEventId>, StoreError> {
        let mut people = BTreeMap::new();
        let memberships = self.memberships(user).await?;
        let own = |room: &ruma::RoomId| {
            let row = memberships.get(room);
            row.is_some_and(|row| row.membership == Membership::Join)
        };
        for room in memberships.keys().filter(|room| own(room)) {
            if let Some(snapshot) = self.snapshot(room).await? {
                add(&mut people, &snapshot);
            }
        }
        for room in self.store().room_ids(OPEN_ROOMS_MAX).await? {
            if own(&room) {
                continue;
            }
            let Some(snapshot) = self.snapshot(&room).await? else {
                continue;
            };
            // A room that we are not in shows who was there once.
            if !snapshot.members.local_joined.is_empty() && self.is_open(&snapshot).await? {
                add(&mut people, &snapshot);
            }
        }
        Ok(people)
    }

    /// Whether everybody may join a room, or read it.
    async fn is_open(&self, snapshot: &Snapshot) -> Result<bool, StoreError> {
        #[derive(Deserialize)]
        struct JoinRules {
            join_rule: String,
        }
        let kind = StateEventType::RoomJoinRules;
        let rules = self.state_event(snapshot, &kind, "").await?;
        let rules = rules.map(|event| serde_json::from_str(event.pdu.content.get()));
        if matches!(rules, Some(Ok(JoinRules { join_rule })) if join_rule == "public") {
            return Ok(true);
        }
        let kind = StateEventType::RoomHistoryVisibility;
        let visibility = self.state_event(snapshot, &kind, "").await?;
        let visibility = visibility_of(visibility.as_deref().map(|event| &*event.pdu));
        Ok(visibility == HistoryVisibility::WorldReadable)
    }
}

fn add(people: &mut BTreeMap<OwnedUserId, OwnedEventId>, snapshot: &Snapshot) {
    for (user, member) in snapshot.members.joined() {
        if !people.contains_key(user) {
            people.insert(user.clone(), member.event_id.clone());
        }
    }
}
