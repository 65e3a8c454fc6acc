//! Upgrading a room: a new room of another version takes the place of an old one.
//!
//! Invariant: the old room is closed only once the new one is on disk; what follows (aliases, power
//! levels of the old room) is done as far as the room's rules allow, and undoes nothing if it fails.
//!
//! Spec: <https://spec.matrix.org/v1.19/client-server-api/#room-upgrades>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use passeur_protocol::{expiry, power_levels::PowerLevels, signed::SignedPdu, versions};
use ruma::{
    OwnedRoomId, OwnedUserId, RoomVersionId,
    events::{StateEventType, TimelineEventType},
    room_version_rules::RoomVersionRules,
};
use serde_json::{Value, json};

use super::{
    Draft, Offer, Rooms, SendError, Snapshot,
    chain::Chain,
    create::{Replacement, raw},
    queue::Work,
};
use crate::store::{LogKind, Membership, MoveAliases, StoreError};

/// State that the new room gets as it was, besides the power levels.
const KEPT: [&str; 10] = [
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.server_acl",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    expiry::POLICY_EVENT_TYPE,
    expiry::RETENTION_EVENT_TYPE,
];
/// Bans that the new room gets.
const BANS_MAX: usize = 1_000;
/// Children that a new space gets.
const CHILDREN_MAX: usize = 1_000;
/// The level of a creator in versions before 12.
const CREATOR_LEVEL: i64 = 100;
/// The level from which on a room can be replaced, from version 12 on.
const TOMBSTONE_LEVEL: i64 = 150;

/// What a user asks for.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The room to be replaced.
    pub room_id: OwnedRoomId,
    /// Who asks: one of ours.
    pub user_id: OwnedUserId,
    /// The version of the new room.
    pub version: RoomVersionId,
    /// Who else is a creator of the new room, from version 12 on.
    pub additional_creators: Vec<OwnedUserId>,
}

/// Why a room was not upgraded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpgradeError {
    /// The version is not supported here.
    #[error("unsupported room version")]
    UnsupportedVersion,
    /// One of the events was refused.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl From<StoreError> for UpgradeError {
    fn from(error: StoreError) -> Self {
        Self::Send(error.into())
    }
}

impl Rooms {
    /// Replaces a room; answers with the id of the new one.
    ///
    /// # Errors
    /// See [`UpgradeError`].
    pub async fn upgrade(self: &Arc<Self>, upgrade: &Upgrade) -> Result<OwnedRoomId, UpgradeError> {
        let rules = versions::rules(&upgrade.version).ok_or(UpgradeError::UnsupportedVersion)?;
        let old = self.snapshot(&upgrade.room_id).await?;
        let old = old.ok_or(SendError::UnknownRoom)?;
        let named = self.random_room_id()?;
        // Before anything exists: may the user close the old room?
        let tombstone = self.tombstone(&old, upgrade, &named).await?;
        let is_named_by_create = rules.authorization.room_create_event_id_as_room_id;
        let mut predecessor = json!({ "room_id": old.room_id });
        if !is_named_by_create {
            predecessor["event_id"] = json!(tombstone.pdu().event_id);
        }
        let replacement = self
            .replacement(&old, upgrade, rules, predecessor, named)
            .await?;
        let new = self.create_replacement(&replacement).await?;
        let tombstone = match is_named_by_create {
            true => self.tombstone(&old, upgrade, &new).await?,
            false => tombstone,
        };
        let offer = Offer {
            signed: tombstone,
            log: LogKind::OwedEvent,
            state_before: None,
            missing: Vec::new(),
        };
        self.enqueue(old.room_id.clone(), Work::Offer(Arc::new(offer)))
            .await?;
        self.move_aliases(&old, upgrade, &new).await?;
        if self.is_published(&old.room_id).await? {
            self.publish(new.clone(), true).await?;
            self.publish(old.room_id.clone(), false).await?;
        }
        self.silence(&old, upgrade).await;
        self.take_settings_along(&new, &upgrade.user_id).await;
        Ok(new)
    }

    /// The event that closes a room, built and checked.
    async fn tombstone(
        &self,
        old: &Snapshot,
        upgrade: &Upgrade,
        replacement: &OwnedRoomId,
    ) -> Result<SignedPdu, UpgradeError> {
        let content = json!({
            "body": "This room has been replaced",
            "replacement_room": replacement,
        });
        let draft = upgrade.draft("m.room.tombstone", "", &content);
        Ok(Chain::on(&self.context, old).draft(&draft).await?)
    }

    /// What the new room begins with.
    async fn replacement(
        &self,
        old: &Snapshot,
        upgrade: &Upgrade,
        rules: &'static RoomVersionRules,
        predecessor: Value,
        room_id: OwnedRoomId,
    ) -> Result<Replacement, UpgradeError> {
        let mut create = json!({ "predecessor": predecessor });
        let before = self.content_of(old, "m.room.create", "").await?;
        for key in ["type", "m.federate"] {
            if let Some(value) = before.as_ref().and_then(|content| content.get(key)) {
                create[key] = value.clone();
            }
        }
        let version = &rules.authorization;
        let mut creators = BTreeSet::from([upgrade.user_id.clone()]);
        if version.additional_room_creators && !upgrade.additional_creators.is_empty() {
            create["additional_creators"] = json!(upgrade.additional_creators);
            creators.extend(upgrade.additional_creators.iter().cloned());
        }
        let mut state = Vec::new();
        for kind in KEPT {
            if let Some(content) = self.content_of(old, kind, "").await? {
                let content = match kind {
                    "m.room.join_rules" => known_join_rules(content, rules),
                    _ => content,
                };
                state.push((kind.to_owned(), String::new(), content));
            }
        }
        if create["type"] == "m.space" {
            state.extend(self.rooms_of_space(old).await?);
        }
        state.extend(banned(old, &creators));
        let levels = self.content_of(old, "m.room.power_levels", "").await?;
        let old_creators = self.old_creators(old).await?;
        let levels = Levels::new(levels, &creators, &old_creators, upgrade, rules);
        if let Some(last) = levels.last {
            state.push(("m.room.power_levels".to_owned(), String::new(), last));
        }
        Ok(Replacement {
            creator: upgrade.user_id.clone(),
            profile: self.profile_of(&upgrade.user_id).await?,
            version: upgrade.version.clone(),
            rules,
            room_id,
            create,
            power_levels: levels.first,
            state,
        })
    }

    /// The content of a place of the state; none if it is empty.
    async fn content_of(
        &self,
        room: &Snapshot,
        kind: &str,
        state_key: &str,
    ) -> Result<Option<Value>, StoreError> {
        let event = self
            .state_event(room, &StateEventType::from(kind), state_key)
            .await?;
        let content = event.and_then(|event| serde_json::from_str(event.pdu.content.get()).ok());
        Ok(
            content
                .filter(|content: &Value| content.as_object().is_some_and(|map| !map.is_empty())),
        )
    }

    /// The rooms of a space.
    async fn rooms_of_space(
        &self,
        old: &Snapshot,
    ) -> Result<Vec<(String, String, Value)>, StoreError> {
        let children = old
            .state
            .iter()
            .filter(|((kind, _), _)| *kind == StateEventType::SpaceChild);
        let ids: Vec<_> = children
            .take(CHILDREN_MAX)
            .map(|(_, id)| id.clone())
            .collect();
        let mut state = Vec::with_capacity(ids.len());
        for event in self.context.store.events(&ids).await? {
            let content: Value = serde_json::from_str(event.pdu.content.get()).unwrap_or_default();
            // Without servers to come to it through, a child has been taken out.
            if let (Some(key), true) = (&event.pdu.state_key, content["via"].is_array()) {
                state.push(("m.space.child".to_owned(), key.clone(), content));
            }
        }
        Ok(state)
    }

    /// Those who stand above all levels in the old room.
    async fn old_creators(&self, old: &Snapshot) -> Result<BTreeSet<OwnedUserId>, StoreError> {
        if !old.rules.authorization.explicitly_privilege_room_creators {
            return Ok(BTreeSet::new());
        }
        let create = self
            .state_event(old, &StateEventType::RoomCreate, "")
            .await?;
        let levels = create.and_then(|create| PowerLevels::new(&create.pdu, None, old.rules).ok());
        Ok(levels.map_or_else(BTreeSet::new, |levels| {
            levels.creators.into_iter().collect()
        }))
    }

    /// Lets the local aliases of the old room lead to the new one, its canonical alias with them.
    async fn move_aliases(
        self: &Arc<Self>,
        old: &Snapshot,
        upgrade: &Upgrade,
        new: &OwnedRoomId,
    ) -> Result<(), UpgradeError> {
        let change = MoveAliases {
            from: old.room_id.clone(),
            to: new.clone(),
        };
        let moved = self.context.store.commit(change).await?.output;
        let Some(content) = self.content_of(old, "m.room.canonical_alias", "").await? else {
            return Ok(());
        };
        if moved == 0 {
            return Ok(());
        }
        let kind = "m.room.canonical_alias";
        let mut draft = upgrade.draft(kind, "", &content);
        draft.room_id = new.clone();
        self.send_if_allowed(draft).await;
        self.send_if_allowed(upgrade.draft(kind, "", &json!({})))
            .await;
        Ok(())
    }

    /// Keeps ordinary members from sending into the old room, and from inviting into it.
    async fn silence(self: &Arc<Self>, old: &Snapshot, upgrade: &Upgrade) {
        let Ok(Some(mut levels)) = self.content_of(old, "m.room.power_levels", "").await else {
            return;
        };
        let users_default = level(&levels["users_default"]).unwrap_or(0);
        let needed = users_default.saturating_add(1).max(50);
        for key in ["events_default", "invite"] {
            let now = level(&levels[key]).unwrap_or(0);
            levels[key] = json!(now.max(needed));
        }
        self.send_if_allowed(upgrade.draft("m.room.power_levels", "", &levels))
            .await;
    }

    async fn send_if_allowed(self: &Arc<Self>, draft: Draft) {
        if let Err(error) = self.send(draft).await {
            tracing::debug!(%error, "an upgraded room did not take an event");
        }
    }
}

impl Upgrade {
    /// A state event of the old room.
    fn draft(&self, kind: &str, state_key: &str, content: &Value) -> Draft {
        Draft {
            room_id: self.room_id.clone(),
            sender: self.user_id.clone(),
            kind: TimelineEventType::from(kind),
            state_key: Some(state_key.to_owned()),
            content: raw(content),
            redacts: None,
            transaction: None,
            timestamp_ms: None,
        }
    }
}

/// The power levels of a new room.
struct Levels {
    /// Those with which it is filled: the creator may do everything.
    first: Value,
    /// Those that it has in the end, if they are others.
    last: Option<Value>,
}

impl Levels {
    fn new(
        old: Option<Value>,
        creators: &BTreeSet<OwnedUserId>,
        old_creators: &BTreeSet<OwnedUserId>,
        upgrade: &Upgrade,
        rules: &RoomVersionRules,
    ) -> Self {
        let mut levels = old.unwrap_or_else(|| json!({ "users": {} }));
        let users = levels["users"].as_object().cloned().unwrap_or_default();
        let mut users: BTreeMap<String, Value> = users.into_iter().collect();
        if rules.authorization.explicitly_privilege_room_creators {
            // Above all levels already: the rules let them have none.
            users.retain(|user, _| !creators.iter().any(|creator| creator.as_str() == user));
            levels["users"] = json!(users);
            raise_tombstone(&mut levels);
            return Self {
                first: levels,
                last: None,
            };
        }
        for creator in old_creators {
            users.insert(creator.to_string(), json!(CREATOR_LEVEL));
        }
        levels["users"] = json!(users);
        // What only those above all levels could do, the highest level can do now.
        if let Some(tombstone) = levels.pointer_mut("/events/m.room.tombstone")
            && !old_creators.is_empty()
            && level(tombstone).is_some_and(|now| now > CREATOR_LEVEL)
        {
            *tombstone = json!(CREATOR_LEVEL);
        }
        let own = users.get(upgrade.user_id.as_str()).and_then(level);
        let needed = highest(&levels).max(CREATOR_LEVEL);
        let mut first = levels.clone();
        first["users"][upgrade.user_id.as_str()] = json!(needed);
        let is_last = own == Some(needed);
        Self {
            last: (!is_last).then_some(levels),
            first,
        }
    }
}

/// From version 12 on replacing a room takes more than setting its state.
pub(super) fn raise_tombstone(levels: &mut Value) {
    let state_default = level(&levels["state_default"]).unwrap_or(50);
    let now = level(&levels["events"]["m.room.tombstone"]);
    if now.is_none_or(|now| now <= state_default.max(CREATOR_LEVEL)) {
        if !levels["events"].is_object() {
            levels["events"] = json!({});
        }
        levels["events"]["m.room.tombstone"] =
            json!(TOMBSTONE_LEVEL.max(state_default.saturating_add(1)));
    }
}

/// The highest level that anything in a room takes.
fn highest(levels: &Value) -> i64 {
    let single = ["state_default", "events_default", "ban", "kick", "invite"];
    let single = single.iter().filter_map(|key| level(&levels[*key]));
    let events = levels["events"].as_object().into_iter().flatten();
    single
        .chain(events.filter_map(|(_, value)| level(value)))
        .max()
        .unwrap_or(0)
}

/// A level: a number, or up to version 9 perhaps its text.
fn level(value: &Value) -> Option<i64> {
    value
        .as_i64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

/// Join rules that the new version knows: where it does not, only those who are invited may come.
fn known_join_rules(content: Value, rules: &RoomVersionRules) -> Value {
    let rules = &rules.authorization;
    let is_known = match content["join_rule"].as_str() {
        Some("knock") => rules.knocking,
        Some("restricted") => rules.restricted_join_rule,
        Some("knock_restricted") => rules.knock_restricted_join_rule,
        _ => true,
    };
    match is_known {
        true => content,
        false => json!({ "join_rule": "invite" }),
    }
}

/// The bans of the old room, of all but the creators of the new one.
fn banned(old: &Snapshot, creators: &BTreeSet<OwnedUserId>) -> Vec<(String, String, Value)> {
    let members = old.members.by_user.iter();
    let banned = members
        .filter(|(user, member)| member.membership == Membership::Ban && !creators.contains(*user));
    let event = |user: &OwnedUserId| {
        let content = json!({ "membership": "ban" });
        ("m.room.member".to_owned(), user.to_string(), content)
    };
    banned.take(BANS_MAX).map(|(user, _)| event(user)).collect()
}
