//! Joining a restricted room without an invite: who meets one of its conditions, and who of ours
//! may let them in.
//!
//! Invariant: a condition is met only by what this server sees itself; what it cannot see is never
//! guessed.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms> and
//! <https://spec.matrix.org/v1.19/server-server-api/#restricted-rooms>

use std::sync::Arc;

use passeur_protocol::power_levels::PowerLevels;
use ruma::{OwnedRoomId, OwnedUserId, UserId, events::StateEventType};
use serde::Deserialize;
use serde_json::Value;

use super::{JoinError, Rooms, Snapshot};
use crate::store::{Membership, StoreError};

/// Conditions of one room that are looked at.
const CONDITIONS_MAX: usize = 200;

/// What a join rules event says; conditions of another shape are conditions that nobody meets.
#[derive(Debug, Deserialize)]
struct JoinRules {
    join_rule: String,
    #[serde(default)]
    allow: Vec<Value>,
}

impl JoinRules {
    /// The rooms whose members may join.
    fn rooms(&self) -> impl Iterator<Item = OwnedRoomId> + '_ {
        let conditions = self.allow.iter().take(CONDITIONS_MAX);
        conditions
            .filter(|condition| condition["type"] == "m.room_membership")
            .filter_map(|condition| condition["room_id"].as_str()?.try_into().ok())
    }
}

impl Rooms {
    /// In whose name, of ours, a user may join a restricted room; none if the room is of another
    /// kind, if an invite or an earlier join suffices, or if the user meets no condition: then the
    /// room's rules decide.
    ///
    /// # Errors
    /// [`JoinError::UnableToAuthorise`] if another server may know whether the user meets a
    /// condition; [`JoinError::UnableToGrant`] if they do, and nobody here may let them in.
    pub(super) async fn authoriser(
        &self,
        snapshot: &Snapshot,
        user: &UserId,
    ) -> Result<Option<OwnedUserId>, JoinError> {
        let held = snapshot.members.membership(user);
        if matches!(
            held,
            Membership::Join | Membership::Invite | Membership::Ban
        ) {
            return Ok(None);
        }
        let Some(join_rules) = self.restrictions(snapshot).await? else {
            return Ok(None);
        };
        if !self.meets_condition(&join_rules, user).await? {
            return Ok(None);
        }
        let granting = self.who_may_invite(snapshot).await?;
        granting.map(Some).ok_or(JoinError::UnableToGrant)
    }

    /// The join rules of a room that is restricted by the rules of its version.
    async fn restrictions(&self, snapshot: &Snapshot) -> Result<Option<JoinRules>, StoreError> {
        let event = self
            .state_event(snapshot, &StateEventType::RoomJoinRules, "")
            .await?;
        let rules = event.and_then(|event| serde_json::from_str(event.pdu.content.get()).ok());
        Ok(rules.filter(|rules: &JoinRules| {
            match (&snapshot.rules.authorization, &*rules.join_rule) {
                (version, "restricted") => version.restricted_join_rule,
                (version, "knock_restricted") => version.knock_restricted_join_rule,
                _ => false,
            }
        }))
    }

    async fn meets_condition(&self, rules: &JoinRules, user: &UserId) -> Result<bool, JoinError> {
        let mut all_seen = true;
        for room in rules.rooms() {
            match self.snapshot(&room).await? {
                Some(other) if !other.members.local_joined.is_empty() => {
                    if other.members.is_joined(user) {
                        return Ok(true);
                    }
                }
                _ => all_seen = false,
            }
        }
        // Our own users are in no room that this server is not in.
        match all_seen || self.is_local(user) {
            true => Ok(false),
            false => Err(JoinError::UnableToAuthorise),
        }
    }

    /// One of ours who is in the room and may invite.
    async fn who_may_invite(&self, snapshot: &Snapshot) -> Result<Option<OwnedUserId>, StoreError> {
        let pdu = |kind: StateEventType| async move {
            let event = self.state_event(snapshot, &kind, "").await?;
            Ok::<_, StoreError>(event.map(|event| Arc::clone(&event.pdu)))
        };
        let create = pdu(StateEventType::RoomCreate).await?;
        let create = create.ok_or(StoreError::corrupt("rooms", "state_group"))?;
        let levels = pdu(StateEventType::RoomPowerLevels).await?;
        let Ok(levels) = PowerLevels::new(&create, levels.as_ref(), snapshot.rules) else {
            return Ok(None);
        };
        let mut ours = snapshot.members.local_joined.iter();
        Ok(ours
            .find(|user| levels.of_user(user) >= levels.invite)
            .cloned())
    }
}
