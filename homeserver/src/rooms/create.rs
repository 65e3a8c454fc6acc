//! Creating a room: all its first events as one chain, in the specification's order.
//!
//! Invariant: a room is created whole or not at all, its alias and the invites of local users
//! included; invites of remote users are sent by the caller afterwards. Rooms that are alike still
//! are different rooms.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom>

use std::{collections::BTreeMap, sync::atomic::Ordering};

use passeur_protocol::versions;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomVersionId, events::TimelineEventType,
    room_version_rules::RoomVersionRules,
};
use serde_json::{Value, json, value::RawValue};

use super::{Draft, Profile, Rooms, SendError, chain::Chain, upgrade::raise_tombstone};
use crate::store::{NewAlias, StoreError};

/// How often a room is made anew because another one has its id.
const TRIES_MAX: usize = 8;

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
    /// The alias belongs to another room.
    #[error("the alias is taken")]
    AliasTaken,
    /// One of the events was refused.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl From<StoreError> for CreateError {
    fn from(error: StoreError) -> Self {
        Self::Send(error.into())
    }
}

impl Rooms {
    /// Creates a room and answers with its id once it is on disk.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn create(&self, new: &NewRoom) -> Result<OwnedRoomId, CreateError> {
        let rules = versions::rules(&new.version).ok_or(CreateError::UnsupportedVersion)?;
        for _ in 0..TRIES_MAX {
            let (room_id, mut chain) = self.first_chain(new, rules).await?;
            chain.append.alias = new.alias.clone().map(|alias| NewAlias {
                alias,
                room_id: room_id.clone(),
                creator: new.creator.clone(),
            });
            if let Ok(()) = self.commit(chain).await? {
                return Ok(room_id);
            }
            if let Some(alias) = &new.alias
                && self.store().room_of_alias(alias).await?.is_some()
            {
                return Err(CreateError::AliasTaken);
            }
        }
        Err(SendError::Busy.into())
    }

    /// The first events of a room.
    async fn first_chain(
        &self,
        new: &NewRoom,
        rules: &'static RoomVersionRules,
    ) -> Result<(OwnedRoomId, Chain<'_>), CreateError> {
        let mut chain = Chain::new_room(&self.context, new.version.clone(), rules);
        let mut room = Room {
            new,
            room_id: self.random_room_id()?,
            created_ms: self.creation_ms(),
        };
        chain
            .add_local(&room.state("m.room.create", "", room.create_content(rules)))
            .await?;
        if let Some(row) = &chain.room {
            room.room_id = row.room_id.clone();
        }
        for draft in room.first_events(rules) {
            chain.add_local(&draft).await?;
        }
        Ok((room.room_id, chain))
    }

    /// A name for a room. One of version 12 is named after its create event instead.
    pub(super) fn random_room_id(&self) -> Result<OwnedRoomId, SendError> {
        let (rng, server) = (&self.context.rng, &self.context.server_name);
        OwnedRoomId::try_from(format!("!{}:{server}", rng.token(18)))
            .map_err(|_| SendError::Malformed("no room id can be made".to_owned()))
    }

    /// Creates a room that takes the place of another; answers with its id once it is on disk.
    pub(super) async fn create_replacement(
        &self,
        new: &Replacement,
    ) -> Result<OwnedRoomId, SendError> {
        for _ in 0..TRIES_MAX {
            let mut chain = Chain::new_room(&self.context, new.version.clone(), new.rules);
            let created_ms = self.creation_ms();
            let mut room_id = new.room_id.clone();
            for (kind, state_key, content) in new.events() {
                let draft = Draft {
                    room_id: room_id.clone(),
                    sender: new.creator.clone(),
                    kind: TimelineEventType::from(kind),
                    state_key: Some(state_key.to_owned()),
                    content: raw(&content),
                    redacts: None,
                    transaction: None,
                    timestamp_ms: Some(created_ms),
                };
                chain.add_local(&draft).await?;
                if let Some(row) = &chain.room {
                    room_id = row.room_id.clone();
                }
            }
            if let Ok(()) = self.commit(chain).await? {
                return Ok(room_id);
            }
        }
        Err(SendError::Busy)
    }

    /// The time of a creation, in ms since the epoch: each one its own. In version 12 it is all
    /// that tells the create events of two rooms of the same creator apart.
    fn creation_ms(&self) -> i64 {
        let now_ms = self.context.clock.now_ms();
        let next = |last: i64| now_ms.max(last.saturating_add(1));
        let last = self
            .created_ms
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(next(last))
            });
        next(last.unwrap_or_else(|last| last))
    }
}

/// A room that takes the place of another, as it begins.
pub(super) struct Replacement {
    /// Who creates it: one of ours.
    pub(super) creator: OwnedUserId,
    /// How the creator appears.
    pub(super) profile: Profile,
    /// Its version.
    pub(super) version: RoomVersionId,
    /// The rules of its version.
    pub(super) rules: &'static RoomVersionRules,
    /// Its id, in versions before 12.
    pub(super) room_id: OwnedRoomId,
    /// What its create event says, besides version and creator.
    pub(super) create: Value,
    /// Its first power levels.
    pub(super) power_levels: Value,
    /// What follows: type, state key and content.
    pub(super) state: Vec<(String, String, Value)>,
}

impl Replacement {
    fn events(&self) -> impl Iterator<Item = (&str, &str, Value)> {
        let mut create = self.create.clone();
        create["room_version"] = json!(self.version);
        if !self.rules.authorization.use_room_create_sender {
            create["creator"] = json!(self.creator);
        }
        let join = self.profile.member("join", false);
        let state = self
            .state
            .iter()
            .map(|(kind, key, content)| (kind.as_str(), key.as_str(), content.clone()));
        [
            ("m.room.create", "", create),
            ("m.room.member", self.creator.as_str(), join),
            ("m.room.power_levels", "", self.power_levels.clone()),
        ]
        .into_iter()
        .chain(state)
    }
}

/// A room under construction.
struct Room<'a> {
    new: &'a NewRoom,
    room_id: OwnedRoomId,
    created_ms: i64,
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
            timestamp_ms: Some(self.created_ms),
        }
    }

    fn state(&self, kind: &str, state_key: &str, content: Value) -> Draft {
        self.draft(kind, state_key, raw(&content))
    }

    fn create_content(&self, rules: &RoomVersionRules) -> Value {
        let mut keys = self.new.creation_content.clone();
        keys.remove("creator");
        let mut content = json!(keys);
        content["room_version"] = json!(self.new.version);
        if !rules.authorization.use_room_create_sender {
            content["creator"] = json!(self.new.creator);
        }
        let given = content.get("additional_creators");
        // What is no list is left as it is, for the room's rules to refuse.
        if rules.authorization.additional_room_creators
            && self.new.preset == Preset::TrustedPrivateChat
            && let Some(mut creators) =
                given.map_or(Some(Vec::new()), |given| given.as_array().cloned())
        {
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
        // Whoever was let into a private room may bring others; in a public room they come by themselves.
        let invite = if self.new.preset == Preset::PublicChat {
            50
        } else {
            0
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
        // "The power level for sending `m.room.tombstone` events MUST explicitly be higher than `state_default`."
        if rules.authorization.explicitly_privilege_room_creators {
            raise_tombstone(&mut levels);
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
        let is_overwritten = |state: &&InitialState| {
            state.state_key.is_empty()
                && (state.kind == "m.room.name" && new.name.is_some()
                    || state.kind == "m.room.topic" && new.topic.is_some())
        };
        for state in new
            .initial_state
            .iter()
            .filter(|state| !is_overwritten(state))
        {
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
