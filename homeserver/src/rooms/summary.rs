//! What a room looks like from outside: in the directory, in spaces, before joining.
//!
//! Invariant: a summary is made from the current state alone and holds what the specification lists, nothing of members but
//! their number. Whether the asker may have it is decided by who asks for it.
//!
//! ruma's own type is not used for answers: it leaves out a join rule that is `public`, and an answer with a join rule that
//! it does not know cannot be written at all.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias>

use std::{collections::HashMap, sync::Arc};

use passeur_protocol::visibility::visibility_of;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId,
    events::{StateEventType, room::history_visibility::HistoryVisibility},
    room::{JoinRuleSummary, RoomSummary},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Rooms, Snapshot, projection};
use crate::store::{Event, StoreError};

/// The state that a summary is made from.
const KINDS: [StateEventType; 9] = [
    StateEventType::RoomCreate,
    StateEventType::RoomName,
    StateEventType::RoomTopic,
    StateEventType::RoomAvatar,
    StateEventType::RoomCanonicalAlias,
    StateEventType::RoomJoinRules,
    StateEventType::RoomHistoryVisibility,
    StateEventType::RoomGuestAccess,
    StateEventType::RoomEncryption,
];

/// A room, as it is shown to those who are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its canonical alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical_alias: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Its avatar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// Its type: none for a room to talk in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_type: Option<String>,
    /// How many are joined.
    pub num_joined_members: u64,
    /// Its join rule.
    pub join_rule: String,
    /// Where membership lets one join, if the rule is restricted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_room_ids: Vec<OwnedRoomId>,
    /// Whether anybody may read it.
    pub world_readable: bool,
    /// Whether guests may join.
    pub guest_can_join: bool,
    /// The algorithm by which it is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_version: Option<String>,
    /// Whether other servers may take part in it.
    #[serde(skip)]
    pub is_federated: bool,
}

impl From<RoomSummary> for Summary {
    /// What another server says of a room.
    fn from(other: RoomSummary) -> Self {
        let allowed_room_ids = match &other.join_rule {
            JoinRuleSummary::Restricted(allowed) | JoinRuleSummary::KnockRestricted(allowed) => {
                allowed.allowed_room_ids.clone()
            }
            _ => Vec::new(),
        };
        Self {
            join_rule: other.join_rule.as_str().to_owned(),
            room_id: other.room_id,
            canonical_alias: other.canonical_alias.map(|alias| alias.to_string()),
            name: other.name,
            topic: other.topic,
            avatar_url: other.avatar_url.map(|url| url.to_string()),
            room_type: other.room_type.map(|kind| kind.to_string()),
            num_joined_members: other.num_joined_members.into(),
            allowed_room_ids,
            world_readable: other.world_readable,
            guest_can_join: other.guest_can_join,
            encryption: other.encryption.map(|algorithm| algorithm.to_string()),
            room_version: other.room_version.map(|version| version.to_string()),
            is_federated: true,
        }
    }
}

impl Summary {
    /// The same, with what a directory lists only.
    #[must_use]
    pub fn listed(self) -> Self {
        Self {
            allowed_room_ids: Vec::new(),
            encryption: None,
            room_version: None,
            ..self
        }
    }

    /// Whether the room is a space.
    pub fn is_space(&self) -> bool {
        self.room_type.as_deref() == Some("m.space")
    }
}

impl Rooms {
    /// The summary of a room.
    ///
    /// # Errors
    /// What the database says.
    pub async fn summary(&self, snapshot: &Arc<Snapshot>) -> Result<Summary, StoreError> {
        let summaries = self.summaries(std::slice::from_ref(snapshot)).await?;
        let summary = summaries.into_iter().next();
        summary.ok_or(StoreError::corrupt("rooms", "room_id"))
    }

    /// The summaries of rooms, in their order.
    ///
    /// # Errors
    /// What the database says.
    pub async fn summaries(&self, snapshots: &[Arc<Snapshot>]) -> Result<Vec<Summary>, StoreError> {
        let ids = snapshots.iter().flat_map(|snapshot| {
            KINDS
                .iter()
                .filter_map(|kind| snapshot.state_id(kind, "").map(ToOwned::to_owned))
        });
        let ids: Vec<OwnedEventId> = ids.collect();
        let events = self.store().events(&ids).await?;
        let events: HashMap<&EventId, &Arc<Event>> =
            events.iter().map(|event| (event.id(), event)).collect();
        let now_ms = self.showing_ms();
        let summaries = snapshots.iter().map(|snapshot| {
            let state = State {
                snapshot,
                events: &events,
                now_ms,
            };
            state.summary()
        });
        Ok(summaries.collect())
    }
}

/// The state of one room, among the events of many.
struct State<'a> {
    snapshot: &'a Snapshot,
    events: &'a HashMap<&'a EventId, &'a Arc<Event>>,
    now_ms: i64,
}

impl State<'_> {
    fn event(&self, kind: &StateEventType) -> Option<&Arc<Event>> {
        let id = self.snapshot.state_id(kind, "")?;
        self.events.get(id).copied()
    }

    fn content(&self, kind: &StateEventType) -> Map<String, Value> {
        let event = self.event(kind);
        let content = event.map(|event| projection::content(event, self.now_ms));
        let content = content.and_then(|content| serde_json::from_str(&content).ok());
        content.unwrap_or_default()
    }

    fn text(&self, kind: &StateEventType, field: &str) -> Option<String> {
        let content = self.content(kind);
        let text = content.get(field)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn summary(&self) -> Summary {
        let create = self.content(&StateEventType::RoomCreate);
        let rules = self.content(&StateEventType::RoomJoinRules);
        let visibility = self.event(&StateEventType::RoomHistoryVisibility);
        let visibility = visibility_of(visibility.map(|event| &*event.pdu));
        let guests = self.text(&StateEventType::RoomGuestAccess, "guest_access");
        // Without a rule, and by a rule that nobody knows, one must be invited.
        let join_rule = rules.get("join_rule").and_then(Value::as_str);
        Summary {
            room_id: self.snapshot.room_id.clone(),
            canonical_alias: self.text(&StateEventType::RoomCanonicalAlias, "alias"),
            name: self.text(&StateEventType::RoomName, "name"),
            topic: self.text(&StateEventType::RoomTopic, "topic"),
            avatar_url: self.text(&StateEventType::RoomAvatar, "url"),
            room_type: create
                .get("type")
                .and_then(Value::as_str)
                .map(str::to_owned),
            num_joined_members: self.snapshot.members.joined as u64,
            join_rule: join_rule.unwrap_or("invite").to_owned(),
            allowed_room_ids: allowed_rooms(&rules),
            world_readable: visibility == HistoryVisibility::WorldReadable,
            guest_can_join: guests.as_deref() == Some("can_join"),
            encryption: self.text(&StateEventType::RoomEncryption, "algorithm"),
            room_version: Some(self.snapshot.version.to_string()),
            is_federated: create.get("m.federate").and_then(Value::as_bool) != Some(false),
        }
    }
}

/// The rooms whose members may join by a restricted rule.
fn allowed_rooms(rules: &Map<String, Value>) -> Vec<OwnedRoomId> {
    let rule = rules.get("join_rule").and_then(Value::as_str);
    if !matches!(rule, Some("restricted" | "knock_restricted")) {
        return Vec::new();
    }
    let allow = rules.get("allow").and_then(Value::as_array);
    let rooms = allow.into_iter().flatten().filter_map(|condition| {
        let is_membership = condition.get("type")?.as_str()? == "m.room_membership";
        let room = condition.get("room_id")?.as_str()?;
        is_membership.then(|| OwnedRoomId::try_from(room).ok())?
    });
    rooms.collect()
}
