//! Creating a room: all its first events as one chain, in the specification's order.
//!
//! Invariant: a room is created whole or not at all, invites of local users included; invites of
//! remote users are sent by the caller afterwards.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

use std::collections::BTreeMap;

use passeur_protocol::versions;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomVersionId, events::TimelineEventType,
    room_version_rules::RoomVersionRules,
};
use serde_json::{Value, json, value::RawValue};

use super::{Draft, Profile, Rooms, SendError, chain::Chain};
use crate::store::Moved;

/// The three presets of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Invited people only.
    PrivateChat,
    /// As a private chat, and everyone invited has the creator's power.
    TrustedPrivateChat,
    /// Anyone may join.
    PublicChat,
}

/// A state event that the client wants in the room from the start.
#[derive(Clone, Debug)]
pub struct InitialState {
    /// Its type.
    pub kind: String,
    /// Its state key.
    pub state_key: String,
    /// Its content: a JSON object.
    pub content: Box<RawValue>,
}

/// A room to be created.
#[derive(Clone, Debug)]
pub struct NewRoom {
    /// Who creates it: one of ours.
    pub creator: OwnedUserId,
    /// How the creator appears.
    pub profile: Profile,
    /// Its version.
    pub version: RoomVersionId,
    /// Which preset.
    pub preset: Preset,
    /// More keys for the content of `m.room.create`.
    pub creation_content: BTreeMap<String, Value>,
    /// Keys that replace those of the default power levels.
    pub power_levels: BTreeMap<String, Value>,
    /// State that the client wants from the start.
    pub initial_state: Vec<InitialState>,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Its canonical alias.
    pub alias: Option<OwnedRoomAliasId>,
    /// Local users to be invited, with how they appear.
    pub invite: Vec<(OwnedUserId, Profile)>,
    /// Remote users that get the creator's power in a trusted private chat.
    pub invite_remote: Vec<OwnedUserId>,
    /// Whether the invites are for a direct chat.
    pub is_direct: bool,
}

/// Why a room was not created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateError {
    /// The room version is not supported.
    #[error("unsupported room version")]
    UnsupportedVersion,
    /// One of the events was refused.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl Rooms {
    /// Creates a room and answers with its id once it is on disk.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn create(&self, new: &NewRoom) -> Result<OwnedRoomId, CreateError> {
        let rules = versions::rules(&new.version).ok_or(CreateError::UnsupportedVersion)?;
        let mut chain = Chain::new_room(&self.context, new.version.clone(), rules);
        // A room of version 12 is named after its create event, so this name is used by others only.
        let random = format!(
            "!{}:{}",
            self.context.rng.token(18),
            self.context.server_name
        );
        let room_id = OwnedRoomId::try_from(random)
            .map_err(|_| SendError::Malformed("no room id can be made".to_owned()))?;
        let mut room = Room { new, room_id };
        chain
            .add_local(&room.state("m.room.create", "", room.create_content(rules)))
            .await?;
        if let Some(row) = &chain.room {
            room.room_id = row.room_id.clone();
        }
        for draft in room.first_events(rules) {
            chain.add_local(&draft).await?;
        }
        match self.commit(chain).await.map_err(SendError::from)? {
            Ok(()) => Ok(room.room_id),
            Err(Moved) => Err(SendError::Busy.into()),
        }
    }
}

/// A room under construction.
struct Room<'a> {
    new: &'a NewRoom,
    room_id: OwnedRoomId,
}

impl Room<'_> {
    fn draft(&self, kind: &str, state_key: &str, content: Box<RawValue>) -> Draft {
        Draft {
            room_id: self.room_id.clone(),
            sender: self.new.creator.clone(),
            kind: TimelineEventType::from(kind),
            state_key: Some(state_key.to_owned()),
            content,
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        }
    }

    fn state(&self, kind: &str, state_key: &str, content: Value) -> Draft {
        self.draft(kind, state_key, raw(&content))
    }

    fn create_content(&self, rules: &RoomVersionRules) -> Value {
        let mut content = json!(self.new.creation_content);
        content["room_version"] = json!(self.new.version);
        if !rules.authorization.use_room_create_sender {
            content["creator"] = json!(self.new.creator);
        }
        if rules.authorization.additional_room_creators
            && self.new.preset == Preset::TrustedPrivateChat
        {
            let mut creators: Vec<Value> = content["additional_creators"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            for user in self.invited() {
                if !creators.contains(&json!(user)) {
                    creators.push(json!(user));
                }
            }
            if !creators.is_empty() {
                content["additional_creators"] = json!(creators);
            }
        }
        content
    }

    fn invited(&self) -> impl Iterator<Item = &OwnedUserId> {
        self.new
            .invite
            .iter()
            .map(|(user, _)| user)
            .chain(&self.new.invite_remote)
    }

    fn power_levels(&self, rules: &RoomVersionRules) -> Value {
        let mut users = serde_json::Map::new();
        if !rules.authorization.explicitly_privilege_room_creators {
            users.insert(self.new.creator.to_string(), json!(100));
            if self.new.preset == Preset::TrustedPrivateChat {
                users.extend(self.invited().map(|user| (user.to_string(), json!(100))));
            }
        }
        let tombstone = if rules.authorization.explicitly_privilege_room_creators {
            150
        } else {
            100
        };
        let invite = if self.new.preset == Preset::PublicChat {
            0
        } else {
            50
        };
        let mut levels = json!({
            "users": users,
            "users_default": 0,
            "events_default": 0,
            "state_default": 50,
            "ban": 50,
            "kick": 50,
            "redact": 50,
            "invite": invite,
            "historical": 100,
            "events": {
                "m.room.name": 50,
                "m.room.avatar": 50,
                "m.room.canonical_alias": 50,
                "m.room.power_levels": 100,
                "m.room.history_visibility": 100,
                "m.room.tombstone": tombstone,
                "m.room.server_acl": 100,
                "m.room.encryption": 100,
            },
        });
        for (key, value) in &self.new.power_levels {
            levels[key] = value.clone();
        }
        levels
    }

    fn first_events(&self, rules: &RoomVersionRules) -> Vec<Draft> {
        let new = self.new;
        let mut events = vec![
            self.state(
                "m.room.member",
                new.creator.as_str(),
                new.profile.member("join", false),
            ),
            self.state("m.room.power_levels", "", self.power_levels(rules)),
        ];
        if let Some(alias) = &new.alias {
            events.push(self.state("m.room.canonical_alias", "", json!({ "alias": alias })));
        }
        let (join_rule, guests) = match new.preset {
            Preset::PublicChat => ("public", "forbidden"),
            _ => ("invite", "can_join"),
        };
        for (kind, content) in [
            ("m.room.join_rules", json!({ "join_rule": join_rule })),
            (
                "m.room.history_visibility",
                json!({ "history_visibility": "shared" }),
            ),
            ("m.room.guest_access", json!({ "guest_access": guests })),
        ] {
            // What the client asks for stands instead of the preset's.
            if !new
                .initial_state
                .iter()
                .any(|state| state.kind == kind && state.state_key.is_empty())
            {
                events.push(self.state(kind, "", content));
            }
        }
        for state in &new.initial_state {
            events.push(self.draft(&state.kind, &state.state_key, state.content.clone()));
        }
        if let Some(name) = &new.name {
            events.push(self.state("m.room.name", "", json!({ "name": name })));
        }
        if let Some(topic) = &new.topic {
            let content = json!({
                "topic": topic,
                "m.topic": { "m.text": [{ "body": topic }] },
            });
            events.push(self.state("m.room.topic", "", content));
        }
        for (user, profile) in &new.invite {
            let content = profile.member("invite", new.is_direct);
            events.push(self.state("m.room.member", user.as_str(), content));
        }
        events
    }
}

/// JSON as raw bytes. What this module makes is always an object.
pub(super) fn raw(content: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(content).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
