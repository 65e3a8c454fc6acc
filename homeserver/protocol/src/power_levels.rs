//! The power levels of a room, read once from its state.
//!
//! Invariant: what is missing has the default of the specification; what is malformed is an error, as it is to the
//! authorisation rules. Creators of version 12 have more power than any number.
//!
//! Specification: <https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels>.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use ruma::{
    Int, OwnedUserId, UserId,
    events::{TimelineEventType, room::power_levels::UserPowerLevel},
    power_levels::NotificationPowerLevels,
    push::PushConditionPowerLevelsCtx,
    room_version_rules::{RoomPowerLevelsRules, RoomVersionRules},
    serde::deserialize_v1_powerlevel,
    state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent},
};

use serde::Deserialize as _;

use crate::{pdu::Pdu, reason::Reason};

type JsonMap = serde_json::Map<String, serde_json::Value>;

/// The level of a creator in a room without power levels, in versions before 12.
const CREATOR_LEVEL: i32 = 100;

/// Who may do what. Keep it as long as the two events that it was read from are in the state.
#[derive(Debug, Clone)]
pub struct PowerLevels {
    /// The creators: one, or in version 12 perhaps more.
    pub creators: HashSet<OwnedUserId>,
    /// Whether creators stand above all levels (version 12).
    pub creators_are_privileged: bool,
    /// The levels of users that have one of their own.
    pub users: BTreeMap<OwnedUserId, Int>,
    /// The level of all others.
    pub users_default: Int,
    /// The levels needed to send events of these types.
    pub events: BTreeMap<TimelineEventType, Int>,
    /// The level needed to send another event that is no state event.
    pub events_default: Int,
    /// The level needed to send another state event.
    pub state_default: Int,
    /// The level needed to redact the events of others.
    pub redact: Int,
    /// The level needed to invite.
    pub invite: Int,
    /// The level needed to kick.
    pub kick: Int,
    /// The level needed to ban.
    pub ban: Int,
    /// The level needed to notify the whole room.
    pub notify_room: Int,
}

impl PowerLevels {
    /// Reads the create event and, if the state holds one, the power levels event.
    pub fn new(
        create: &Arc<Pdu>,
        levels: Option<&Arc<Pdu>>,
        rules: &RoomVersionRules,
    ) -> Result<Self, Reason> {
        let refuse = |detail: String| Reason::new("power levels", detail);
        let rules = &rules.authorization;
        let creators = RoomCreateEvent::new(Arc::clone(create))
            .creators(rules)
            .map_err(refuse)?;
        let event = levels.map(|levels| RoomPowerLevelsEvent::new(Arc::clone(levels)));
        let content = levels.map(|levels| serde_json::from_str::<JsonMap>(levels.content.get()));
        let content = content
            .transpose()
            .map_err(|error| refuse(error.to_string()))?
            .unwrap_or_default();
        let level = |field: &str, default: i32| {
            match content.get(field) {
                None => Ok(default.into()),
                Some(value) if rules.integer_power_levels => Int::deserialize(value),
                Some(value) => deserialize_v1_powerlevel(value),
            }
            .map_err(|error| refuse(error.to_string()))
        };
        let (users, events, notifications) = match &event {
            Some(event) => (
                event
                    .users(rules)
                    .map_err(refuse)?
                    .cloned()
                    .unwrap_or_default(),
                event.events(rules).map_err(refuse)?.unwrap_or_default(),
                event
                    .notifications(rules)
                    .map_err(refuse)?
                    .unwrap_or_default(),
            ),
            None => (
                creators
                    .iter()
                    .map(|user| (user.clone(), CREATOR_LEVEL.into()))
                    .collect(),
                BTreeMap::new(),
                BTreeMap::new(),
            ),
        };
        Ok(Self {
            users_default: level("users_default", 0)?,
            events_default: level("events_default", 0)?,
            state_default: level("state_default", 50)?,
            redact: level("redact", 50)?,
            invite: level("invite", 0)?,
            kick: level("kick", 50)?,
            ban: level("ban", 50)?,
            notify_room: notifications
                .get("room")
                .copied()
                .unwrap_or(NotificationPowerLevels::new().room),
            creators_are_privileged: rules.explicitly_privilege_room_creators,
            creators,
            users,
            events,
        })
    }

    /// The level of a user.
    pub fn of_user(&self, user_id: &UserId) -> UserPowerLevel {
        if self.creators_are_privileged && self.creators.contains(user_id) {
            return UserPowerLevel::Infinite;
        }
        UserPowerLevel::Int(
            self.users
                .get(user_id)
                .copied()
                .unwrap_or(self.users_default),
        )
    }

    /// The level needed to send an event of this type.
    pub fn to_send(&self, kind: &TimelineEventType, is_state: bool) -> Int {
        let default = if is_state {
            self.state_default
        } else {
            self.events_default
        };
        self.events.get(kind).copied().unwrap_or(default)
    }

    /// Whether a redaction takes effect on its target. Both must be accepted; the levels are those before the redaction.
    ///
    /// That a redaction is accepted does not mean that it does: the authorisation rules let anyone send one who may send
    /// events of its type. One that does not is kept, and not sent to clients.
    /// <https://spec.matrix.org/v1.19/rooms/v12/#handling-redactions>
    pub fn allows_redaction(&self, redaction: &Pdu, target: &Pdu) -> bool {
        redaction.redacts.as_ref() == Some(&target.event_id)
            && redaction.room_id == target.room_id
            && (self.of_user(&redaction.sender) >= self.redact
                || redaction.sender.server_name() == target.sender.server_name())
    }

    /// What push rules ask of the levels.
    pub fn for_push(&self) -> PushConditionPowerLevelsCtx {
        let mut notifications = NotificationPowerLevels::new();
        notifications.room = self.notify_room;
        let mut rules =
            RoomPowerLevelsRules::new(&ruma::room_version_rules::AuthorizationRules::V11, []);
        rules.privileged_creators = self.creators_are_privileged.then(|| self.creators.clone());
        PushConditionPowerLevelsCtx::new(
            self.users.clone(),
            self.users_default,
            notifications,
            rules,
        )
    }
}

#[cfg(test)]
mod tests;
